"""CRFL: clip the norm of the global model, then perturb it with Gaussian noise.

Xie et al., "CRFL: Certifiably Robust Federated Learning against Backdoor Attacks", ICML 2021, Algorithm 1, checked
against the authors' published code (github.com/AI-secure/CRFL). In each round

1. the model moves by the clients' mean, weighted by data size;
2. it is clipped: w ← w / max(1, |w|_2 / ρ_t), with ρ_t = ρ + growth · t;
3. noise of standard deviation σ is added to each parameter, and the next round starts from there.

Deviations: ρ is the norm of the model that the first round starts from, unless it is given: the authors choose one for
each data set and model (MNIST: 2 + 0.1 t, at most 15), and others would break other models. The paper adds no noise in
the last round, and predicts by a vote over 1,000 draws of noise, which is what it certifies; the code evaluates without
noise. Here the model that is evaluated is a single draw: there is no vote, and no certificate. BatchNorm running
statistics are the mean weighted by data size; the code adds noise to them, too. Noise is drawn where the updates are,
so that a GPU draws other noise for a seed than a CPU; to draw it takes longer than to read ten updates. State: ρ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.distances import row_norms
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    bound: float | None = None
    """ρ > 0. None: the norm of the model that the first round starts from [ours]."""
    growth: float = 0.0
    """By how much the bound grows in each round, >= 0 [ours]; the authors have 0.025 to 0.25."""
    sigma: float = 0.01
    """σ >= 0, standard deviation of the noise on each parameter [lineage: the authors' code, for MNIST]."""


class CRFL(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if config.bound is not None and config.bound <= 0:
            raise UserError(f"crfl: bound {config.bound} leaves nothing of the model; it must be > 0.")
        for name in ("growth", "sigma"):
            if getattr(config, name) < 0:
                raise UserError(f"crfl: {name} {getattr(config, name)} is negative; it must be at least 0.")
        self._bound: Tensor | None = None

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        params, sigma = updates.global_params, self.config.sigma
        if self._bound is None:
            given = self.config.bound
            self._bound = row_norms(params[None])[0] if given is None else torch.tensor(given, dtype=torch.float64)
        bound = to_device(self._bound, params.device) + self.config.growth * context.round
        mean = updates.mean(updates.num_samples)
        norm = row_norms((params.double() + mean.delta)[None])[0]
        scale = torch.where(norm > bound, bound / norm, 1.0).float()
        delta = mean.delta * scale + params * (scale - 1)  # exactly the mean where nothing is clipped
        if sigma > 0:
            stream = generator(context.seed, "crfl-noise", context.round, device=delta.device)
            delta += torch.randn(len(delta), generator=stream, device=delta.device).mul_(sigma)
        info = {"crfl_norm": norm, "crfl_bound": bound, "crfl_sigma": torch.tensor(sigma)}
        return Aggregate(delta, mean.buffers, info=info)

    def state(self) -> dict[str, Tensor]:
        return {} if self._bound is None else {"bound": self._bound}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._bound = state.get("bound")
