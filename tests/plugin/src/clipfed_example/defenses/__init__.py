"""Defenses: a file each."""
