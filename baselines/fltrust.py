"""FLTrust: trust each update by its cosine with an update that the server trains itself.

Cao et al., "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS 2021, Algorithm 2: the server
trains the global model on a small clean root data set, which gives g0; the trust score of g_i is ReLU(cos(g_i, g0))
(Eq. 2); g_i is rescaled to the norm of g0 (Eq. 3); the aggregate is the trust-weighted mean (Eq. 4), added with the
global learning rate 1 (Eq. 5).

The server trains as the clients do, with their batch size, optimizer and, as in Algorithm 2, number of steps: where
clients have different amounts of data, the number for the round's median. Root data are images of the server data
set, never test data, fixed for a cell.

Deviations: where no client is trusted the global model stays as it is (Eq. 4 is 0/0). BatchNorm running statistics are
the trust-weighted mean of the clients', unscaled, and in no cosine or norm. The paper's root data are drawn from the
clients' distribution; ours are as good as the server data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext, ServerModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import Figure
from clipfed_bench.toolbox.distances import cosines, median, row_norms, weighted_sum
from clipfed_bench.toolbox.images import Images
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    root_samples: int = 100
    """Root images, in equal parts from all classes as far as there are any; at least 1 [paper: FLTrust]."""
    steps: Literal["clients", "epochs"] = "clients"
    """How long the server trains: as many steps as a client with the round's median number of images [paper: FLTrust],
    or the clients' epochs over the root data, which are fewer steps and a smaller update [lineage]."""


class FLTrust(Defense):
    config: Config
    needs_server_data = True

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.root_samples < 1:
            raise UserError(f"fltrust: root_samples {config.root_samples} is too small; it must be at least 1.")
        if config.steps not in ("clients", "epochs"):
            raise UserError(f"fltrust: unknown steps '{config.steps}'; it is 'clients' or 'epochs'.")

    @cached_property
    def root(self) -> Images:
        """The root data set, on the server's device."""
        assert self.server.server_data is not None
        data, device = self.server.server_data().data, self.server.device
        chosen = data.take(balanced_choice(data.labels, self.config.root_samples, self.server.seed))
        return Images(chosen.images.to(device), chosen.labels.to(device))

    @cached_property
    def model(self) -> ServerModel:
        assert self.server.model is not None
        return self.server.model()

    def prepare(self) -> None:
        _ = self.root

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        images = float(median(updates.num_samples)) if self.config.steps == "clients" else None
        reference, _ = self.model.train(self.root, updates.global_params, updates.global_buffers, context, images)
        trust = cosines(updates.deltas, reference).clamp(min=0)
        kept, total = trust > 0, trust.sum()
        info: dict[str, Figure] = {"fltrust_trust": trust.mean(), "fltrust_root": float(len(self.root))}
        share = torch.where(kept, trust / total, 0.0)  # where nobody is trusted, weights of 0 and not of 0/0
        norms = row_norms(updates.deltas)
        scale = torch.where(kept, row_norms(reference[None]) / norms, 0.0)  # a zero update has no trust
        buffers = torch.where(kept.any(), share.float() @ updates.buffers, updates.global_buffers)
        return Aggregate(weighted_sum(updates.deltas, share * scale), buffers, kept, info)


def balanced_choice(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices (int64) of ``count`` images, or all there are: classes take turns, each in an order drawn from ``seed``.

    So class sizes differ by one at most, unless a class runs out of images.
    """
    order = torch.randperm(len(labels), generator=generator(seed, "fltrust-root"))
    shuffled = labels.cpu()[order]
    turn = torch.empty_like(order)
    for label in set(shuffled.tolist()):
        own = shuffled == label
        turn[own] = torch.arange(int(own.sum()))
    taken = torch.argsort(turn, stable=True)[:count]  # of the last turn, whoever comes first in the draw
    return order[taken].to(labels.device)
