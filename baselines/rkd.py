"""RKD: filter models by their likeness to the mean, and distill an ensemble of median ones on the server's data.

Alharbi et al., "Robust Knowledge Distillation in Federated Learning: Counteracting Backdoor Attacks", SaTML 2025. The
paper was available in summaries only; what follows is its authors' public code.

1. A model's likeness is the cosine of its parameters and those of the mean model, tensor by tensor, averaged.
2. HDBSCAN clusters these K numbers; the smallest cluster it may find shrinks from round to round, from a fifth of the
   clients down to two. The cluster with the largest mean is taken for benign; who is in no cluster counts as one.
3. Of each benign model the median of all parameters is taken. The seven models whose median is closest to the median
   of those medians are the ensemble.
4. The ensemble's plain mean is the student. On the server's images it learns the softmax of the ensemble's mean
   logits: T² KL at T = 2, three epochs of SGD, and the mean of the models at the ends of the epochs (SWA).

Deviations: a server's set here may be made of generated images, whereas theirs is a sixth of the training data; neither
uses its labels. A cosine annealing over a hundred epochs, which lowers the first learning rates by less than a
thousandth, is left out. HDBSCAN is given the clients in the order of their ids, because its ties depend on the order,
and cosines are rounded to twelve decimals; the hdbscan package is required. Clients outside of the ensemble count as
rejected. To find the median of a model takes longer than to read ten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.clustering import clusters_of_points, require_hdbscan
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distillation import Distillation, distill, soft_labels
from clipfed_bench.toolbox.images import Normalizer
from clipfed_bench.toolbox.sums import blocks

MOMENTUM, DECAY = 0.9, 1e-5
"""Of the student's SGD [paper: its code]."""
DECIMALS = 12
"""Of a cosine: models that are alike on paper are alike here [ours]."""


@dataclass(frozen=True)
class Config:
    cluster: float = 0.2
    """Smallest cluster of the first round as a share of the clients, 0 to 1; it shrinks by one client in each round,
    down to two [paper: its code]."""
    ensemble: int = 7
    """Most models in the ensemble, 1 or more [paper: its code]."""
    temperature: float = 2.0
    """T, > 0 [paper: its code]."""
    epochs: int = 3
    """Epochs over the server's images in each round, 1 or more [paper: its code]."""
    batch_size: int = 16
    """Server images per batch, 1 or more [paper: its code]."""
    lr: float = 0.001
    """Learning rate of the first epoch, > 0 [paper: its code]."""
    swa_lr: float = 0.01
    """Learning rate of the tenth epoch and later ones, > 0 [paper: its code]."""


class RKD(Defense):
    config: Config
    needs_server_data = True

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        require_hdbscan("rkd")
        if not 0 <= config.cluster <= 1:
            raise UserError(f"rkd: cluster {config.cluster} is not a share of the clients from 0 to 1.")
        for name in ("ensemble", "epochs", "batch_size"):
            if getattr(config, name) < 1:
                raise UserError(f"rkd: {name} {getattr(config, name)} is too few; it must be at least 1.")
        for name in ("temperature", "lr", "swa_lr"):
            if not getattr(config, name) > 0:
                raise UserError(f"rkd: {name} {getattr(config, name)} is too small; it must be > 0.")
        self._labels: Tensor | None = None

    @cached_property
    def pixels(self) -> Tensor:
        """The server's images in [0, 1], on its device."""
        assert self.server.server_data is not None
        return self._normalizer.pixels(self.server.server_data().data.images.to(self.server.device))

    @cached_property
    def _normalizer(self) -> Normalizer:
        return Normalizer(self.server.mean, self.server.std, self.server.device)

    def prepare(self) -> None:
        _ = self.pixels

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        assert self.server.model is not None
        model, params = self.server.model(), updates.global_params
        order = sorted(range(len(updates)), key=updates.clients.__getitem__)
        medians = torch.stack([(params + delta.float()).median() for delta in updates.deltas])
        facts = to_host(torch.stack([likeness(updates, model.layers), medians.double()]))[:, order]  # all at once
        smallest = max(2, int(self.config.cluster * len(updates) - (context.round - 1)))
        alike = benign(facts[0], smallest)
        chosen = sorted(order[k] for k in nearest_median(facts[1], alike, self.config.ensemble))
        kept = torch.zeros(len(updates), dtype=torch.bool)
        kept[chosen] = True
        self._labels = soft_labels(
            [model.predict(params + updates.deltas[k].float(), updates.buffers[k], self.pixels) for k in chosen],
            self.config.temperature,
        )
        result = updates.mean(kept, kept=to_device(kept, updates.deltas.device))
        return replace(result, info={"rkd_benign": float(alike.sum()), "rkd_ensemble": float(len(chosen))})

    def purify(self, model: nn.Module, context: RoundContext) -> None:
        """Step 4."""
        assert self._labels is not None
        c = self.config
        how = Distillation(c.epochs, c.batch_size, c.temperature, c.lr, c.swa_lr, MOMENTUM, DECAY)
        distill(model, self._normalizer(self.pixels), self._labels, how, self.server.compute)


def likeness(updates: ClientUpdates, layers: Mapping[str, slice]) -> Tensor:
    """(K,) float64: step 1, rounded; a tensor of zeros is at cosine 0 from everything."""
    total = torch.zeros(len(updates), dtype=torch.float64, device=updates.deltas.device)
    for place in layers.values():
        start, dots, squares, whole = place.start, *(torch.zeros_like(total) for _ in range(3))
        for block in blocks(updates.deltas[:, place]):
            stop = start + block.shape[1]
            models = block.double() + updates.global_params[start:stop].double()
            mean, start = models.mean(dim=0), stop
            dots += models @ mean
            squares += models.square().sum(dim=1)
            whole += mean.square().sum()
        product = (squares * whole).sqrt()
        total += torch.where(product > 0, dots / product, 0.0)
    return torch.round(total / len(layers), decimals=DECIMALS)


def benign(likeness: Tensor, smallest: int) -> Tensor:
    """(K,) bool: step 2, of (K,) float64 on the CPU; clusters have ``smallest`` >= 2 clients or more."""
    labels = clusters_of_points(likeness[:, None], smallest)
    found = {label: torch.round(likeness[labels == label].mean(), decimals=DECIMALS) for label in set(labels.tolist())}
    best = max(found.values())
    return torch.tensor([bool(found[label] == best) for label in labels.tolist()])


def nearest_median(medians: Tensor, alike: Tensor, count: int) -> list[int]:
    """Step 3: at most ``count`` of those who are ``alike`` (K,) bool, by ``medians`` (K,); of equal ones the first."""
    rows = alike.nonzero().flatten()
    away = (medians[rows] - medians[rows].median()).abs()
    return rows[torch.argsort(away, stable=True)[:count]].tolist()
