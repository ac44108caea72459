"""Models: a file each."""
