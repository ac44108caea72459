"""How plots look: one color, marker and line for each defense, told apart also without color, on any background.

Colors are those of Okabe and Ito (2008), made for color-blind readers. How
they are drawn is :mod:`clipfed_bench.core.figures`.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfed_bench.core import figures
from clipfed_bench.core.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = figures.FORMATS
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
MARKERS = "osD^vPX*"
LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_KNOWN = ("clip-fed", "fedavg", "flame", "fltrust", "foolsgold", "fedcpa", "krum")
"""Defenses that look the same in every figure; others take what is left, in the order in which they come."""

_RC: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.markersize": 5.0,
    "savefig.dpi": 200.0,
}


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    color: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each of ``names`` (defenses with or without options), alike for known ones in every figure."""
    names = list(dict.fromkeys(names))
    found = {name: _look(_KNOWN.index(name)) for name in names if name in _KNOWN}
    spare = (look for look in _all_looks() if look not in found.values())
    return {name: found[name] if name in found else next(spare) for name in names}


@contextmanager
def drawing() -> Iterator[None]:
    """Figures that are made and saved inside have the suite's fonts, grids and sizes, whatever a user has set."""
    with figures.drawing(_RC):
        yield


def save(figure: Figure, folder: Path, stem: str, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write ``folder/stem.pdf`` and so on, each whole or not at all; their paths. ``formats`` are of FORMATS."""
    paths = []
    for format in formats:
        paths.append(folder / f"{stem}.{format}")
        write_atomically(paths[-1], figures.rendered(figure, format, bbox_inches="tight"))
    return paths


def remark(figure: Figure, sentences: Sequence[str]) -> None:
    """``sentences`` below all panels of ``figure``, or at the end of its title if it has one."""
    width = int(figure.get_figwidth() * 72 / 3.8)
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, width)]
    if lines and figure.get_suptitle():  # below such a figure there may be a legend
        figure.suptitle("\n".join([figure.get_suptitle(), *lines]), fontsize=8)
    elif lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7)


def power_of_ten(value: float, _: object = None) -> str:
    """``10⁻³``, for ticks of a logarithmic axis: text is never read as mathematics here."""
    exponent = round(math.log10(value))
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _all_looks() -> Iterator[Look]:
    """One of each color, then each color with other markers and lines, without end."""
    for shift in itertools.count():
        for index in range(len(COLORS)):
            yield replace(_look(index + shift), color=COLORS[index])


def _look(index: int) -> Look:
    return Look(COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)], LINES[index % len(LINES)])
