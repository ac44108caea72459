"""Partitions, one module each: who holds which training image. See ``docs/extending.md``."""
