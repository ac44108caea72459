"""Who holds what: class counts by client, as an array and as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipfed_bench.core.figures import drawing, rendered
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.splits import Index
from clipfed_bench.data.class_names import spoken

if TYPE_CHECKING:
    from torch import Tensor


def client_counts(labels: Tensor, parts: Sequence[Tensor], classes: int) -> Index:
    """(clients, classes) int64: how many images of each class each client holds."""
    return np.stack([labels[part].bincount(minlength=classes).numpy() for part in parts])


@drawing()
def save_heat_map(counts: Index, classes: Sequence[str], title: str, path: Path) -> None:
    """Writes (clients, classes) ``counts`` as a heat map; numbers in the cells where there is room for them.

    The file is whole or not there. Raises UserError where it cannot be written.
    """
    from matplotlib.figure import Figure

    clients, columns = counts.shape
    labelled = columns <= 20
    width = min(max(5.0, 0.62 * columns if labelled else 0.16 * columns), 24.0) + 2.5
    height = (max(3.5, 0.27 * clients) if clients <= 60 else 13.0) + 2.0
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(counts, aspect="auto", cmap="viridis", interpolation="nearest")
    figure.colorbar(shown, ax=axes, label="training images", fraction=0.04, pad=0.02)
    axes.set(title=title, xlabel="class", ylabel="client")
    axes.set_xticks(
        range(columns), [spoken(c) for c in classes], rotation=45 if labelled else 90, fontsize=9 if labelled else 6,
        ha="right" if labelled else "center", rotation_mode="anchor" if labelled else "default",
    )  # fmt: skip
    step = 1 if clients <= 60 else -(-clients // 50)
    axes.set_yticks(range(0, clients, step))
    if labelled and clients <= 60:
        for (row, column), count in np.ndenumerate(counts):
            color = "black" if count > 0.6 * counts.max() else "white"
            axes.text(column, row, f"{count}", ha="center", va="center", color=color, fontsize=7)
    write_atomically(path, rendered(figure, path.suffix[1:].lower(), dpi=150))
