"""One source of images each."""
