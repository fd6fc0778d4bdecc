"""Arrays as pictures: painted, side by side, inside a page."""
