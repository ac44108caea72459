"""Figure 3: t-SNE of test features, some of them of triggered images, by the teacher, without and with CLIP-Fed.

Every panel shows the same test images; its map is computed from that panel's features alone, so that distances within a
panel have a meaning and places do not (van der Maaten & Hinton, JMLR 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from clipfed_bench.api import Attack
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.figures import scatter, text
from clipfed_bench.paper.figures.cells import require_alike, require_single
from clipfed_bench.report.tables.axes import ranks
from clipfed_bench.runs.store import RunStore
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.final_model import load_model
from clipfed_bench.toolbox.images import Images, Normalizer
from clipfed_bench.toolbox.rng import generator

IMAGES = 1000
"""Test images shown, at most, as many of each class [ours]."""
TRIGGERED = 0.05
"""Share of them that is triggered [paper]."""
PERPLEXITY = 30.0
"""Of t-SNE, or a third of the images where they are few [ours: scikit-learn's]."""
NO_DEFENSE = "fedavg"

_BATCH = 250
_FIGURE = "figure 3"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """The test images of the figure."""

    index: Tensor
    """(n,) int64: places in the test set."""
    pixels: Tensor
    """(n, C, H, W) float32 in [0, 1], triggered where ``triggered`` says so."""
    labels: Tensor
    """(n,) int64."""
    triggered: Tensor
    """(n,) bool."""


@dataclass(frozen=True)
class View:
    """What one model makes of the sample."""

    name: str
    features: Array
    """(n, D)."""
    predicted: Array
    """(n,) classes."""


def make(cells: Sequence[CellSpec], env: Environment, store: RunStore) -> tuple[Figure, pd.DataFrame]:
    """The figure, and its numbers: panel, image, x, y, label, triggered, predicted.

    Panels: the cells' teacher; without a defense (``fedavg``) after the most rounds; every other defense after each
    number of rounds; of several seeds the lowest. Raises UserError for cells that differ in anything else, where there
    is no teacher among them, and where a final model is not there.
    """
    lowest = min((cell.seed for cell in cells), default=0)
    cells = [cell for cell in cells if cell.seed == lowest]
    require_alike(cells, ("defense", "rounds"), _FIGURE)
    require_single(cells, ("defense", "rounds"), _FIGURE)
    taught = next((cell for cell in cells if cell.teacher is not None), None)
    if taught is None:
        raise UserError(f"{_FIGURE} shows the teacher's features, and no cell's defense has one; add clip-fed.")
    setup = CellSetup(cells[0], env)
    sample = draw_sample(setup.data.test, len(setup.data.classes), setup.attack, cells[0].seed)
    views = [teacher_view(CellSetup(taught, env), sample)]
    views += [model_view(CellSetup(cell, env), sample) for cell in shown_cells(cells)]
    numbers = pd.concat([_numbers(view, sample) for view in views], ignore_index=True)
    return _draw(numbers, cells), numbers


def shown_cells(cells: Sequence[CellSpec]) -> list[CellSpec]:
    """No defense after the most rounds, then the defenses in their usual order, each by rounds."""
    plain = [cell for cell in cells if str(cell.defense) == NO_DEFENSE]
    others = [cell for cell in cells if str(cell.defense) != NO_DEFENSE]
    last = [max(plain, key=lambda cell: cell.rounds)] if plain else []
    return last + sorted(others, key=lambda cell: ranks((str(cell.defense), cell.rounds)))


def draw_sample(test: Images, classes: int, attack: Attack, seed: int) -> Sample:
    """Equally many images of each class, and among those of other classes than the target the triggered ones."""
    stream = generator(seed, "figure-tsne")
    labels = test.labels.cpu()
    each = min(IMAGES // classes, int(labels.bincount(minlength=classes).min()))
    order = torch.randperm(len(labels), generator=stream)
    index = torch.cat([order[labels[order] == k][:each] for k in range(classes)])
    labels = labels[index]
    others = (labels != attack.context.target).nonzero().flatten()
    chosen = others[torch.randperm(len(others), generator=stream)[: round(TRIGGERED * len(labels))]]
    triggered = torch.zeros(len(labels), dtype=torch.bool)
    triggered[chosen] = True
    pixels = test.images[index.to(test.images.device)].float() / 255
    pixels[chosen.to(pixels.device)] = attack.trigger(pixels[chosen.to(pixels.device)])
    return Sample(index, pixels, labels, triggered)


def teacher_view(setup: CellSetup, sample: Sample) -> View:
    """The features of the cell's teacher, and its zero-shot predictions."""
    assert setup.spec.teacher is not None
    features = setup.teacher.image_features(sample.pixels)
    predicted = setup.teacher.zero_shot_logits(features).argmax(dim=1)
    (name,) = text.teacher_labels([setup.spec.teacher]).values()
    return View(f"teacher ({name})", features.cpu().numpy(), predicted.cpu().numpy())


@torch.no_grad()
def model_view(setup: CellSetup, sample: Sample) -> View:
    """The features and predictions of the cell's final model."""
    cell, model = setup.spec, load_model(setup.spec, setup.env)
    normalize = Normalizer(setup.data.mean, setup.data.std, setup.env.device)
    features = torch.cat([model.features(normalize(part)) for part in torch.split(sample.pixels, _BATCH)])
    name = f"no defense ({NO_DEFENSE})" if str(cell.defense) == NO_DEFENSE else str(cell.defense)
    predicted = model.classifier(features).argmax(dim=1)
    return View(f"{name}, {cell.rounds} rounds", features.cpu().numpy(), predicted.cpu().numpy())


def embed(features: Array) -> Array:
    """(n, D) features -> (n, 2) t-SNE map; the same for the same features."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    places: Array = TSNE(2, perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(features)
    return places


def _numbers(view: View, sample: Sample) -> pd.DataFrame:
    places = embed(view.features).astype(np.float64)
    return pd.DataFrame(
        {
            "panel": view.name,
            "image": sample.index.numpy(),
            "x": places[:, 0],
            "y": places[:, 1],
            "label": sample.labels.numpy(),
            "triggered": sample.triggered.numpy(),
            "predicted": view.predicted,
        }
    )


def _draw(numbers: pd.DataFrame, cells: Sequence[CellSpec]) -> Figure:
    target = cells[0].target
    names = text.class_names(cells[0].dataset)
    figure = scatter.draw(numbers, names, target)
    count = len(numbers) // numbers["panel"].nunique()
    text.title(
        figure,
        f"t-SNE of the features of {count:,} test images ({count // len(names):,} a class), "
        f"{int(numbers['triggered'].sum()) * count // len(numbers):,} of them triggered",
        text.setup(cells),
    )
    return figure
