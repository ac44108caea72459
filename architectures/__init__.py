"""Models that clients train, one module each; every public module here is one, named by its file."""
