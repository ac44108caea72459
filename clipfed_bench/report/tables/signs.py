"""Signs behind numbers and labels of tables; the notes below a table say what those in it mean."""

from __future__ import annotations

LOW = "†"
"""Behind the MTA of a defense that gives up too much of the main task to be the best of anything."""

IDLE = "‡"
"""Behind the label of a row in which the attack does not work even without a defense."""

APART = "*"
"""Behind a difference that a corrected test tells from 0."""
