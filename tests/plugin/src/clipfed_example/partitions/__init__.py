"""Partitions: a file each."""
