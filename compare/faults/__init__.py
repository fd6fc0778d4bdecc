"""The catalogue of mistakes that people make, each as a small edit of our own source."""
