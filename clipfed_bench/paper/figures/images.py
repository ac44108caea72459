"""Figure 4: server images as they are, with the trigger, and as CLIP-Fed's frequency augmentation makes them.

The perturbed images are those that the cell trains on: noise in the band that is measured to be the most sensitive one,
from the cell's own random stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from clipfed_bench.clipfed.frequency_noise import augment
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import label
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.figures import text
from clipfed_bench.paper.figures.cells import require_alike
from clipfed_bench.paper.figures.server import ServerImages, server_images
from clipfed_bench.runs.store import RunStore
from clipfed_bench.toolbox.rng import generator

CLASSES = 4
"""Classes shown, evenly spaced among those there are [ours]."""

_FACTORS = (1, 2, 3, 5, 10, 20, 30, 50, 100)


def make(cells: Sequence[CellSpec], env: Environment, store: RunStore) -> tuple[Figure, pd.DataFrame]:
    """The figure, and its numbers: label, class, version, row, col, red, green, blue (0 to 1).

    Of each class shown the first server image, so that none is picked by its looks. Raises UserError without a CLIP-Fed
    cell, for one without augmentation, and for several attacks.
    """
    server = server_images(cells, env, "figure 4")
    require_alike(cells, set(CellSpec.__dataclass_fields__) - {"attack"}, "figure 4")
    options = server.options
    if options["augment"] == "none":
        raise UserError("figure 4 shows CLIP-Fed's frequency augmentation, and clip-fed[augment=none] has none.")
    stream = generator(0, "server-augmentation")
    perturbed, band, _ = augment(server.pixels, server.probe.trigger, options["bands"], options["noise"], stream)
    index = first_images(server.labels, CLASSES)
    originals = server.pixels[index]
    versions = {
        "original": originals,
        "triggered": server.attack_of(server.spec).trigger(originals),
        "perturbed": perturbed[index],
    }
    names = [text.class_names(server.spec.dataset)[k] for k in server.labels[index].tolist()]
    return _draw(versions, names, server, band), _numbers(versions, server.labels[index], names)


def first_images(labels: Tensor, classes: int) -> Tensor:
    """Index of the first image of each of at most ``classes`` classes, evenly spaced among those in ``labels``."""
    present = sorted(set(labels.tolist()))
    places = np.linspace(0, len(present) - 1, min(classes, len(present))).round().astype(int)
    return torch.tensor([int((labels == present[i]).nonzero()[0]) for i in places])


def amplification(difference: Tensor) -> int:
    """The largest of a few round factors with which at most 1 % of the changed values leave half the pixel range."""
    changed = difference[difference.abs() > 1e-4].abs()
    bound = float(changed.quantile(0.99)) if len(changed) else 0.5
    return max((factor for factor in _FACTORS if factor * bound <= 0.5), default=1)


def _numbers(versions: dict[str, Tensor], labels: Tensor, names: Sequence[str]) -> pd.DataFrame:
    parts = []
    for version, images in versions.items():
        for image, number, name in zip(images, labels.tolist(), names, strict=True):
            height, width = image.shape[-2:]
            row, col = np.divmod(np.arange(height * width), width)
            channels = ("red", "green", "blue") if len(image) == 3 else ("gray",)
            colors = dict(zip(channels, image.flatten(1).numpy(), strict=True))
            parts.append(
                pd.DataFrame({"label": number, "class": name, "version": version, "row": row, "col": col, **colors})
            )
    return pd.concat(parts, ignore_index=True)


def _draw(versions: dict[str, Tensor], names: Sequence[str], server: ServerImages, band: int) -> Figure:
    figure = Figure(figsize=(6.4, 1.28 * len(names) + 1.0), layout="constrained")
    grid = figure.subplots(len(names), 5, squeeze=False)
    original, options = versions["original"], server.options
    times = "" if options["noise"] == 1 else f"{label(options['noise'])} times "
    strength = f"{times}as strong as that change"
    differences = [versions[name] - original for name in ("triggered", "perturbed")]
    factors = [amplification(difference) for difference in differences]
    perturbed = f"perturbed\n(band {band + 1} of {options['bands']})"
    columns = [
        ("original\n", original),
        (f"triggered\n({server.spec.attack.name})", versions["triggered"]),
        (perturbed, versions["perturbed"]),
        *(
            (f"{what}\nalone × {factor}", 0.5 + factor * difference)
            for what, factor, difference in zip(("trigger", "noise"), factors, differences, strict=True)
        ),
    ]
    for i, name in enumerate(names):
        for j, (head, images) in enumerate(columns):
            _show(grid[i, j], images[i])
            if i == 0:
                grid[i, j].set_title(head, fontsize=text.SIZE)
            if j >= 3:
                rms = 100 * float(differences[j - 3][i].square().mean().sqrt())
                grid[i, j].set_xlabel(f"RMS {rms:.1f} %", fontsize=7)
        grid[i, 0].set_ylabel(name, fontsize=text.SIZE)
    text.title(
        figure,
        "Server images: original, triggered, and with CLIP-Fed's noise in the sensitive frequency band",
        f"{text.setup([server.spec], text.SERVER)} · trigger {server.spec.attack}",
        "Trigger and noise alone: differences to the original, gray is none, RMS in per cent of the pixel range. "
        f"The band is the one that the trigger {options['probe']} changes most; the noise is {strength}.",
    )  # fmt: skip
    return figure


def _show(axes: Axes, image: Tensor) -> None:
    axes.imshow(image.clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="0.6", lw=0.5)  # a white corner would be lost on white paper
