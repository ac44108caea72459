"""CLIP-Fed: filter client models by clustering, then purify the aggregate on generated data with CLIP as teacher.

arXiv 2508.10315 v2, Algorithm 1: in each round (c) dynamic model filtering and Eq. 2, (d) feature rectification, Eq. 3
to 5, (e) knowledge transfer, Eq. 6, on a server data set (a) with frequency-sensitivity augmentation (b), built once.
What the paper leaves open is marked [ours]; docs/clip-fed.md discusses it. State: the projection between feature
widths is kept from round to round; optimizer state, the extractor's prototypes and the random streams are per round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.clipfed.filtering import filter_updates
from clipfed_bench.clipfed.purifier import find_purifier
from clipfed_bench.clipfed.server_set import Augmentation, ServerSet, build_server_set
from clipfed_bench.clipfed.steps import Schedule
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.rng import stream_seed


@dataclass(frozen=True)
class Config:
    filtering: bool = True
    """Filter client models by PCA and HDBSCAN; false: average them all (ablation) [paper]."""
    rectify: bool = True
    """Train the feature extractor by prototype contrast; false: the paper's first ablation [paper]."""
    transfer: bool = True
    """Train the model by distillation from the teacher; false: the paper's second ablation [paper]."""
    augment: Literal["join", "replace", "none"] = "join"
    """Band-perturbed server images join the originals, replace them, or are not made (ablation) [ours]."""
    components: int = 2
    """Principal components that clients are clustered by, >= 1 [ours]."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Metric on the principal components [ours]."""
    bands: int = 6
    """Frequency bands K >= 1; the paper's plot has about 12, which leaves some empty at 32×32 [ours]."""
    noise: float = 1.0
    """Noise in the sensitive band, relative to the probe trigger's change there (root mean square) [ours]."""
    probe: str = "badnets"
    """Visible trigger whose spectrum finds the sensitive band: an attack's name; a fixed one of the server's [ours]."""
    tau: float = 0.1
    """Temperature of the prototype contrast, > 0 [ours]."""
    beta: float = 1.0
    """Weight of the distillation term [ours]."""
    kd_temperature: float = 3.0
    """Softmax temperature of the distillation term; 1 is Eq. 6 to the letter [ours]."""
    rectify_epochs: int = 1
    """Epochs of rectification per round [ours]."""
    transfer_epochs: int = 1
    """Epochs of transfer per round [ours]."""
    batch_size: int = 64
    """Server images per batch [ours]."""
    lr: float = 0.0003
    """Learning rate of the server's SGD, of 0.0001 to 0.01 by validation images: 0.001 costs one to two points of MTA,
    0.01 eight, and the more the server moves the model, the more attackers the filter of the next round lets in
    [ours]."""
    momentum: float = 0.9
    """Momentum of the server's SGD [ours]."""
    clip: float = 10.0
    """Bound on the norm of the server's gradients, 0: none. Usual norms are 3 to 10; without a bound rectification
    diverges now and then, since the cosine of a short feature vector has a steep gradient [ours]."""


class CLIPFed(Defense):
    config: Config
    needs_server_data = True
    needs_teacher = True

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        least = {"components": 1, "bands": 1, "batch_size": 1, "noise": 0, "beta": 0, "lr": 0, "clip": 0}
        for name, low in least.items():
            if getattr(config, name) < low:
                raise UserError(f"clip-fed[{name}]: {getattr(config, name)} is too small; it must be at least {low}.")
        for name in ("tau", "kd_temperature"):
            if getattr(config, name) <= 0:
                raise UserError(f"clip-fed[{name}]: {getattr(config, name)} is not a temperature; it must be > 0.")
        self._data: ServerSet | None = None
        self._projection: Tensor | None = None

    def prepare(self) -> None:
        """Steps (a) and (b), and the teacher's view of the result."""
        self._server_set()

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        """Step (c) and Eq. 2: the kept clients' mean weighted by data size; no clipping, no noise [paper]."""
        device = updates.deltas.device
        kept = torch.ones(len(updates), dtype=torch.bool, device=device)
        if self.config.filtering:
            kept = filter_updates(updates.deltas, self.config.components, self.config.metric)
        result = updates.mean(to_device(updates.num_samples, device) * kept, kept=kept)
        return replace(result, info={"kept": kept.sum()})

    def purify(self, model: nn.Module, context: RoundContext) -> None:
        """Steps (d) and (e)."""
        config = self.config
        if not (config.rectify or config.transfer):
            return
        assert isinstance(model, Classifier)
        data = self._server_set()
        purifier = find_purifier(model, data, self.server.compute)
        if config.rectify and self._projection is None:
            self._projection = self._project(model.classifier.in_features, data.text_prototypes.shape[1])
        phases, manner = [], (config.batch_size, config.lr, config.momentum, config.clip)
        if config.rectify:
            phase = purifier.rectification(config.tau, Schedule(config.rectify_epochs, *manner))
            phases.append((phase, context.generator("clip-fed-rectify")))
        if config.transfer:
            phase = purifier.transfer(config.beta, config.kd_temperature, Schedule(config.transfer_epochs, *manner))
            phases.append((phase, context.generator("clip-fed-transfer")))
        purifier(model, self._projection, phases)

    def state(self) -> dict[str, Tensor]:
        """The projection, where it is trained."""
        return {"projection": self._projection} if self._projection is not None else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._projection = state.get("projection")

    def _server_set(self) -> ServerSet:
        if self._data is None:
            c = self.config
            self._data = build_server_set(self.server, Augmentation(c.augment, c.bands, c.noise, c.probe))
        return self._data

    def _project(self, width: int, teacher_width: int) -> Tensor | None:
        """The weight of a linear, trainable layer where widths differ [ours: the paper names none]."""
        if width == teacher_width:
            return None
        stream = torch.Generator().manual_seed(stream_seed(self.server.seed, "clip-fed-projection"))
        weight = nn.init.orthogonal_(torch.empty(teacher_width, width), generator=stream)
        return to_device(weight, self.server.device)
