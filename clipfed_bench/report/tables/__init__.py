"""Cells as rows and columns: axes, means and spreads, pairs, notes."""
