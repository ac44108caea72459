"""DeepSight: cluster clients by what they trained on, and drop clusters of models trained on few classes.

Rieger et al., "DeepSight: Mitigating Backdoor Attacks in Federated Learning Through Deep Model Inspection", NDSS 2022.
Neither the paper's text nor code of its authors was available; what follows was checked against three public
re-implementations. Where these differ: outputs are probabilities, not logits; a number of exceedings equal to half of
the median is suspicious; noise is judged client by client.

- update energy of output neuron p: E_p = (|Δb_p| + Σ_h |Δw_p,h|)²; NEUP is E / Σ E. A client's threshold exceedings are
  the p with E_p >= max(0.01, 1/P) max E. With at most half of the median number it is suspicious: too homogeneous.
- DDif: mean over random inputs of the ratio of local to global output probabilities, by class, for some seeds.
- HDBSCAN by NEUP, by each seed's DDif, and by the cosine distance of Δb; a pair of clients is at distance 0 where it
  shares a cluster, else 1, averaged over seeds and then over the three; HDBSCAN of that distance gives the clusters.
- a cluster is accepted where less than a share τ of it is suspicious; noise, where it is not suspicious.
- accepted updates are clipped to the median norm of all, and averaged.

Deviations: random inputs are uniform pixels, normalized, drawn where the updates are, so that a GPU draws others for a
seed than a CPU; local models see them with the global BatchNorm statistics, so that these decide nothing. HDBSCAN needs
2 clients for a cluster (the library's 5 is half of our rounds), takes one sample for a core point, and is given clients
in the order of their ids, because its ties depend on the order; they depend on the library, too, so that the hdbscan
package is required. All clients are never one cluster: where they are all alike, each is noise and judged by itself.
Updates of Δb = 0 are at cosine distance 0 from each other. Where nothing is accepted, clients that are not suspicious
are. BatchNorm running statistics are the kept clients' mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext, ServerModel
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.clustering import clusters, require_hdbscan
from clipfed_bench.toolbox.device import Figure, to_device, to_host
from clipfed_bench.toolbox.distances import median, pairwise_cosine_distances, row_norms, weighted_sum
from clipfed_bench.toolbox.rng import generator


@dataclass(frozen=True)
class Config:
    samples: int = 256
    """Random inputs of a DDif, at least 1; the paper takes 20,000, which costs as many images' inference for each
    client and seed [ours]."""
    seeds: int = 3
    """DDifs of a round, each with inputs of its own; at least 1 [paper: DeepSight]."""
    tau: float = 0.3333333333333333
    """τ, above 0: suspicious share at which a cluster is rejected [paper: DeepSight]."""


class DeepSight(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        require_hdbscan("deepsight")
        for name in ("samples", "seeds"):
            if getattr(config, name) < 1:
                raise UserError(f"deepsight: {name} {getattr(config, name)} is too small; it must be at least 1.")
        if config.tau <= 0:
            raise UserError(f"deepsight: tau {config.tau} rejects every cluster; it must be > 0.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        assert self.server.model is not None
        model = self.server.model()
        device, count = updates.deltas.device, len(updates)
        order = torch.tensor(sorted(range(count), key=updates.clients.__getitem__))
        weight = updates.deltas[:, model.layers["classifier.weight"]].double()
        bias = updates.deltas[:, model.layers["classifier.bias"]].double()
        energy = (bias.abs() + weight.reshape(*bias.shape, -1).abs().sum(dim=2)) ** 2
        neup = energy / energy.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        rows = to_device(order, device)
        distances = [torch.cdist(x[rows], x[rows]) for x in (neup, *self._ddifs(model, updates, context))]
        distances.append(pairwise_cosine_distances(bias[rows]))
        facts = to_host(torch.cat([*distances, homogeneous(energy)[None].double()]))  # all at once
        by_neup, *by_ddif, by_bias = torch.split(facts[:-1], count)
        suspicious = facts[-1].bool()
        labels = torch.empty(count, dtype=torch.int64)
        labels[order] = ensemble([by_neup], by_ddif, [by_bias])
        kept = to_device(accepted(labels, suspicious, self.config.tau), device)
        norms = row_norms(updates.deltas)
        bound = median(norms)
        scale = torch.where(norms > bound, bound / norms, 1.0)
        share = kept.double() / kept.sum()
        info: dict[str, Figure] = {"deepsight_suspicious": float(suspicious.sum()), "deepsight_clip": bound}
        return Aggregate(weighted_sum(updates.deltas, share * scale), share.float() @ updates.buffers, kept, info)

    def _ddifs(self, model: ServerModel, updates: ClientUpdates, context: RoundContext) -> list[Tensor]:
        """For each seed (K, P) float64."""
        found = []
        device = updates.deltas.device
        stream = generator(context.seed, "deepsight-inputs", context.round, device=device)
        for _ in range(self.config.seeds):
            pixels = torch.rand(self.config.samples, *model.image_shape, generator=stream, device=device)
            before = model.predict(updates.global_params, updates.global_buffers, pixels).double()
            rows = []
            for delta in updates.deltas:
                after = model.predict(updates.global_params + delta, updates.global_buffers, pixels).double()
                ratio = (F.log_softmax(after, dim=1) - F.log_softmax(before, dim=1)).nan_to_num(0.0)
                rows.append(ratio.clamp(-100, 100).exp().mean(dim=0))  # a wild model's ratio stays finite
            found.append(torch.stack(rows))
        return found


def homogeneous(energy: Tensor) -> Tensor:
    """(K,) bool, the suspicious: at most half of the median number of threshold exceedings, from energies (K, P)."""
    factor = max(0.01, 1 / energy.shape[1])
    exceedings = (energy >= factor * energy.max(dim=1, keepdim=True).values).sum(dim=1).double()
    return exceedings <= median(exceedings) / 2


def ensemble(*measures: list[Tensor]) -> Tensor:
    """Labels (K,) of the final clustering, from lists of (K, K) distances; each list has the same say."""
    apart = []
    for distances in measures:
        votes = []
        for matrix in distances:
            labels = clusters(matrix)
            together = (labels[:, None] == labels[None, :]) & (labels >= 0)
            votes.append((~together).double().fill_diagonal_(0))
        apart.append(torch.stack(votes).mean(dim=0))
    return clusters(torch.stack(apart).mean(dim=0))


def accepted(labels: Tensor, suspicious: Tensor, tau: float) -> Tensor:
    """(K,) bool: which clients are averaged; at least one."""
    kept = ~suspicious
    for label in set(labels[labels >= 0].tolist()):
        own = labels == label
        kept[own] = bool(suspicious[own].double().mean() < tau)
    return kept if kept.any() else ~suspicious
