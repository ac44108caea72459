"""Version and identifying columns of the files of a run."""

from __future__ import annotations

HISTORY_AXES = ("dataset", "partition", "alpha", "degree", "attack", "defense", "seed")
"""What identifies a cell in the history, besides its key."""

FORMAT = 1
"""Version of the json files; files of another version never count as done."""
