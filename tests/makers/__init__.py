"""Makers of what tests are about: cells, updates, images, data on disk, results. Defaults are small and plain."""
