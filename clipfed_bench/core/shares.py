"""Shares of whole numbers: exact as they are written, and what rounding leaves over is carried on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import floor


def part(share: float, count: int) -> Fraction:
    """``share`` of ``count``, exact in decimals: 0.29 of 100 is 29, although ``0.29 * 100 < 29`` in binary."""
    return Fraction(str(share)) * count


def nearest(share: float, count: int) -> int:
    """``share`` of ``count`` to the nearest whole number, halves up."""
    return floor(part(share, count) + Fraction(1, 2))


def carried(parts: Iterable[Fraction], carry: Fraction) -> Iterator[int]:
    """A whole number for each of ``parts``: rounded up or down so that all sums are within 1 of those of the parts.

    With ``carry`` uniform in [0, 1) each is its part on average. What is whole stays as it is.
    """
    for each in parts:
        carry += each
        yield floor(carry)
        carry -= floor(carry)
