"""Ways to run cells, a file each: a new file here is a new ``--executor``."""
