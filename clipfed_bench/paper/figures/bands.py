"""Figure 5: how much triggers change each frequency band of the server's images.

Mean squared difference between the DCT spectra of clean and triggered images, for the paper's K of about 12 and for the
K of the cells' CLIP-Fed. Bands that hold no coefficient at this image size are marked as empty; they are not zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clipfed_bench.clipfed.frequency_noise import band_mse, band_of
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.figures import text
from clipfed_bench.paper.figures.server import ServerImages, server_images
from clipfed_bench.report.plots.style import Look, looks, power_of_ten
from clipfed_bench.runs.store import RunStore

PAPER_BANDS = 12
"""Bands of the paper's plot, as far as they can be counted there [paper]."""

DECADES = 7
"""How far below the largest value the axis reaches: float32 rounding of an unchanged band is further down [ours]."""

_EMPTY = "0.92"


def make(cells: Sequence[CellSpec], env: Environment, store: RunStore) -> tuple[Figure, pd.DataFrame]:
    """The figure, and its numbers: bands (K), band (1 is the lowest), trigger, coefficients, empty, mse, sensitive.

    One series for each attack of ``cells``; server data and K are those of their CLIP-Fed cells. ``mse`` is in squared
    units of the orthonormal DCT of pixels in [0, 1], nan in empty bands. Raises UserError without a CLIP-Fed cell.
    """
    server = server_images(cells, env, "figure 5")
    triggers = {str(cell.attack): server.attack_of(cell).trigger for cell in reversed(cells)}
    ordered = sorted(triggers, key=[str(cell.attack) for cell in cells].index)
    rows = []
    height, width = server.pixels.shape[-2:]
    for bands in sorted({PAPER_BANDS, server.options["bands"]}, reverse=True):
        sizes = band_of(height, width, bands).flatten().bincount(minlength=bands).tolist()
        for name in ordered:
            error = band_mse(server.pixels, triggers[name], bands)
            highest = float(error.nan_to_num(nan=0.0).max())
            for band, (size, value) in enumerate(zip(sizes, error.tolist(), strict=True)):
                rows.append((bands, band + 1, name, size, size == 0, value, 0 < highest == value))
    columns = ["bands", "band", "trigger", "coefficients", "empty", "mse", "sensitive"]
    numbers = pd.DataFrame(rows, columns=columns)
    return _draw(numbers, server), numbers


def _draw(numbers: pd.DataFrame, server: ServerImages) -> Figure:
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    panels = list(numbers["bands"].drop_duplicates())
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=[n + 2 for n in panels])[0]
    triggers = list(numbers["trigger"].drop_duplicates())
    styles = looks(triggers)
    top = numbers["mse"].max() or 1.0
    bottom = max(top / 10**DECADES, numbers["mse"].min() / 3)
    for axes, bands in zip(row, panels, strict=True):
        part = numbers[numbers["bands"] == bands]
        _shade(axes, part)
        for i, trigger in enumerate(triggers):
            shift = 0.76 * ((i + 0.5) / len(triggers) - 0.5)  # triggers with one spectrum would hide each other
            _series(axes, part[part["trigger"] == trigger], styles[trigger], shift, bottom)
        owner = " (CLIP-Fed here)" if bands == server.options["bands"] else " (about the paper's)"
        axes.set_title(f"K = {bands} bands{owner}", fontsize=text.SIZE)
        axes.set(xlabel="frequency band, 1: lowest", xlim=(0.4, bands + 0.6), xticks=range(1, bands + 1))
        axes.grid(visible=False, axis="x")
    row[0].set(yscale="log", ylabel="MSE of DCT coefficients\n(pixels in [0, 1])", ylim=(bottom, top * 4))
    row[0].yaxis.set_major_formatter(power_of_ten)
    below = "Pointing down: below the axis. " if (numbers["mse"] <= bottom).any() else ""
    handles, names = row[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4))
    text.title(
        figure,
        "MSE between the spectra of clean and triggered server images, by frequency band",
        f"{text.setup([server.spec], text.SERVER)} · {len(server.labels):,} images",
        f"Ringed: the band that a trigger changes most. {below}CLIP-Fed's probe {server.options['probe']} chooses band "
        f"{_perturbed(server)} of {server.options['bands']}.",
    )
    return figure


def _perturbed(server: ServerImages) -> int:
    """The band that CLIP-Fed finds and perturbs; 1 is the lowest."""
    return int(band_mse(server.pixels, server.probe.trigger, server.options["bands"]).nan_to_num(nan=-1.0).argmax()) + 1


def _shade(axes: Axes, part: pd.DataFrame) -> None:
    """Mark bands without a coefficient."""
    empty = part.loc[part["empty"], "band"].drop_duplicates()
    for band in empty:
        axes.axvspan(band - 0.5, band + 0.5, color=_EMPTY, lw=0, zorder=0)
    if len(empty):
        axes.text(empty.mean(), 0.5, "empty", ha="center", va="center", color="0.35", fontsize=text.SIZE,
                  transform=axes.get_xaxis_transform())  # fmt: skip


def _series(axes: Axes, part: pd.DataFrame, look: Look, shift: float, bottom: float) -> None:
    known = part[~part["empty"]]
    seen = known[known["mse"] > bottom]
    hidden = known[known["mse"] <= bottom]
    name = str(part["trigger"].iloc[0])
    axes.plot(seen["band"] + shift, seen["mse"], color=look.color, marker=look.marker, ls="none", label=name)
    axes.vlines(seen["band"] + shift, bottom, seen["mse"], color=look.color, lw=1.2, alpha=0.6)
    axes.plot(hidden["band"] + shift, [bottom * 1.6] * len(hidden), color=look.color, marker=7, ls="none", alpha=0.7)
    best = seen[seen["sensitive"]]
    axes.plot(best["band"] + shift, best["mse"], marker="o", ms=10, mfc="none", mec="black", mew=1.2, ls="none")
