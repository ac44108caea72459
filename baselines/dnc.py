"""DnC (Divide-and-Conquer): drop the clients that stand out along the direction in which updates differ most.

Shejwalkar and Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated
Learning", NDSS 2021, Algorithm 2: take b random coordinates of the updates, center them, and score client i by its
squared projection onto the top right singular vector; the n - c f clients with the smallest scores are good. After some
repetitions the aggregate is the mean of those that were always good.

The projections are the top eigenvector of the (n, n) Gram matrix, scaled: the same scores, and no vector of b entries.
To gather the coordinates and to multiply them, in float64 and for each repetition, takes more than 3 times the reading
of the updates.

Deviations: c f is rounded up to whole clients, and at least one is good. Where repetitions leave nobody that was always
good, those that were good most often are taken. Ties go to the lowest client id. BatchNorm running statistics are the
mean of the same clients, and in no score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from baselines._assumed import assumed_share
from baselines.krum import malicious_count
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import round_significant
from clipfed_bench.toolbox.rng import stream_seed


@dataclass(frozen=True)
class Config:
    malicious: float | None = None
    """Assumed share of malicious clients, 0 to below 0.5; f is that share of the round's clients, rounded up. None: the
    share that the server is told to expect [ours]."""
    iterations: int = 1
    """Repetitions, each with coordinates of its own, at least 1 [lineage: re-implementations; some take 5]."""
    coordinates: int = 10000
    """b >= 1; all of them where the model has fewer [lineage: re-implementations]."""
    filtering: float = 1.0
    """c >= 0: clients that a repetition drops, over f [lineage: re-implementations]."""


class DnC(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        self.malicious = assumed_share("dnc", config.malicious, server)
        for name, least in (("iterations", 1), ("coordinates", 1), ("filtering", 0)):
            if getattr(config, name) < least:
                raise UserError(f"dnc: {name} {getattr(config, name)} is too small; it must be at least {least}.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        clients, params = updates.deltas.shape
        dropped = math.ceil(self.config.filtering * malicious_count(self.malicious, clients) - 1e-9)
        by_id = sorted(range(clients), key=updates.clients.__getitem__)  # of equal scores the first are taken
        columns = torch.cat([self._columns(params, context, number) for number in range(self.config.iterations)])
        rows = to_host(updates.deltas.index_select(1, to_device(columns, updates.deltas.device)))[by_id]
        times = torch.zeros(clients, dtype=torch.int64)
        for some in rows.chunk(self.config.iterations, dim=1):
            scores = round_significant(outlier_scores(some))
            good = scores.sort(stable=True).indices[: max(clients - dropped, 1)]
            times[torch.tensor(by_id)[good]] += 1
        kept = times == times.max()
        result = updates.mean(kept.double())
        info = {"dnc_kept": float(kept.sum()), "dnc_always_good": float(times.max() == self.config.iterations)}
        return Aggregate(result.delta, result.buffers, to_device(kept, updates.deltas.device), info)

    def _columns(self, params: int, context: RoundContext, repetition: int) -> Tensor:
        """(b,) int64: the coordinates of a repetition, in order."""
        draw = np.random.default_rng(stream_seed(context.seed, "dnc", context.round, repetition))
        some = draw.choice(params, min(self.config.coordinates, params), replace=False, shuffle=False)
        return torch.from_numpy(np.sort(some))


def outlier_scores(rows: Tensor) -> Tensor:
    """Squared projections (K,) float64 of centered ``rows`` (K, b) onto their top right singular vector."""
    apart = rows.double() - rows[0].double()  # equal rows are zeros from here on, whatever the mean rounds to
    apart -= apart.mean(dim=0)
    values, vectors = torch.linalg.eigh(apart @ apart.T)
    scores: Tensor = values[-1].clamp(min=0) * vectors[:, -1].square()
    return scores
