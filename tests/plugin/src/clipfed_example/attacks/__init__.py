"""Attacks: a file each."""
