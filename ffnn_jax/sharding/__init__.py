"""One training on many devices: where parameters live, and how rows come to those who need them."""
