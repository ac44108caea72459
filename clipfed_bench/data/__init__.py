"""Data sets, long tails, partitions and the server's own data."""
