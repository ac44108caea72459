"""What is stored of a cell: the version of its json, the names of its final figures, what its history repeats."""

from __future__ import annotations

HISTORY_AXES = ("dataset", "partition", "alpha", "degree", "attack", "defense", "seed")
"""What identifies a cell in the history, besides its key."""

FORMAT = 1
"""Version of the json files; files of another version never count as done."""

METRICS = (
    *("mta", "asr", "mta_tail", "asr_tail", "asr_max", "mta_start", "asr_start", "tpr", "fpr", "dropped"),
    *("seconds_local", "seconds_attack", "seconds_defense", "seconds_purify", "seconds_eval"),
)
"""Final figures of a cell: fractions, then dropped updates and seconds."""
