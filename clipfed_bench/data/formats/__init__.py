"""The forms that data sets come in on disk, found by content."""
