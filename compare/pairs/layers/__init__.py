"""One file for each family of layers: everything that is known about them."""
