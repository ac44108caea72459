"""Partitions: every public module here is one."""
