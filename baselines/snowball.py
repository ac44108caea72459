"""Snowball: clients elect a few of each other, and these take in, step by step, who differs from them as they do.

Qin et al., "Resisting Backdoor Attacks in Federated Learning via Bidirectional Elections and Individual Perspective",
AAAI 2024, by the authors' published code (github.com/zhenqincn/Snowball), read line by line; the paper's text was not
available. Of the first layer's weights and of the last layer's weights and bias:

- Bottom-up election, layer by layer. From the view of each client, k-means clusters the updates, starting from its own
  and from the ``farthest`` ones. It votes for the clients in its cluster, with the Calinski-Harabasz index of its
  clustering, scaled over the clients to [0, 1]. The tenth of the clients with the most votes is elected.
- Top-down election. A variational autoencoder (:mod:`clipfed_bench.toolbox.vae`) learns the differences of the updates
  of all pairs of the elected, squeezed by a sigmoid. The ``step`` of the clients is added whose differences to the
  elected it reconstructs best, and it learns on, until the share ``keep`` is elected. They are averaged by data size.

Deviations: the code elects from the top only from some round on, which depends on the data set (CIFAR-10: the 100th),
and averages the tenth before that; here it does so in every round, since cells start from a warm model. It has 10
farthest of 50 clients; here that is a share. At least two clients are elected from below, or there would be no
difference to learn; updates that equal an elected one count as reconstructed without error. Where clusterings are all
as good, all have a full vote; ties go by client id. BatchNorm running statistics are averaged over the same clients.

A round takes as long as the autoencoder: seconds for 10 clients, minutes for 100. Votes are scaled by their range, as
in the code, so that clients who see the worst clustering have none: attackers who are closer to each other than honest
clients are can be elected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device, to_host
from clipfed_bench.toolbox.distances import pairwise_squared_distances, round_significant
from clipfed_bench.toolbox.vae import Autoencoder


@dataclass(frozen=True)
class Config:
    farthest: float = 0.2
    """Share of the clients that k-means starts from besides one's own update, above 0, below 1 [lineage: code]."""
    keep: float = 0.5
    """M, the share of the clients that is elected, above 0, at most 1 [lineage: code]."""
    step: float = 0.05
    """M^E, the share that a step from the top adds, rounded up; above 0 [lineage: code]."""
    initial: int = 270
    """Epochs of the autoencoder before the first step, >= 0 [lineage: code]."""
    tuning: int = 30
    """Epochs before each step, >= 0 [lineage: code]."""
    hidden: int = 256
    """Width of its hidden layers [lineage: code]."""
    latent: int = 64
    """Width of its latent layer [lineage: code]."""


class Snowball(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        for name, high in (("farthest", 1), ("keep", 1), ("step", math.inf)):
            if not 0 < getattr(config, name) <= high:
                raise UserError(f"snowball: {name} {getattr(config, name)} is not a share of clients above 0.")
        for name, low in (("initial", 0), ("tuning", 0), ("hidden", 1), ("latent", 1)):
            if getattr(config, name) < low:
                raise UserError(f"snowball: {name} {getattr(config, name)} is too small; it must be at least {low}.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        deltas, count = updates.deltas, len(updates)
        order = torch.tensor(sorted(range(count), key=updates.clients.__getitem__))
        places = self._layers()
        squared = to_host(torch.stack([pairwise_squared_distances(deltas[:, place]) for place in places]))
        votes = sum(layer_votes(round_significant(layer[order][:, order]), self.config.farthest) for layer in squared)
        assert isinstance(votes, Tensor)
        ranked = torch.argsort(round_significant(-votes), stable=True).tolist()
        elected = ranked[: max(math.ceil(count / 10), 2)]
        wanted = int(self.config.keep * count + 1e-9)
        if len(elected) < wanted:
            features = torch.cat([deltas[:, place] for place in places], dim=1)[to_device(order, deltas.device)].float()
            elected = self._from_the_top(features, elected, wanted, context.generator("snowball-autoencoder"))
        kept = torch.zeros(count, dtype=torch.bool)
        kept[order[elected]] = True
        return updates.mean(updates.num_samples * kept.to(updates.num_samples.device), to_device(kept, deltas.device))

    def _from_the_top(self, rows: Tensor, elected: list[int], wanted: int, stream: torch.Generator) -> list[int]:
        """``elected`` and who is added until there are ``wanted``, from updates (K, D) float32."""
        config = self.config
        learner = Autoencoder(rows.shape[1], config.hidden, config.latent, stream, rows.device)
        epochs = config.initial + config.tuning
        while len(elected) < wanted:
            base = rows[to_device(torch.tensor(elected), rows.device)]
            learner.train(differences(base), epochs)
            rest = [k for k in range(len(rows)) if k not in elected]
            errors = []
            for k in rest:
                apart = base - rows[k]
                found = learner.errors(torch.sigmoid(torch.cat([apart, -apart])))
                unequal = apart.any(dim=1).repeat(2)
                errors.append((found * unequal).sum() / unequal.sum().clamp(min=1))
            best = torch.argsort(to_host(torch.stack(errors)), stable=True)
            added = min(math.ceil(config.step * len(rows) - 1e-9), wanted - len(elected))
            elected = [*elected, *(rest[k] for k in best[:added].tolist())]
            epochs = config.tuning
        return elected

    def _layers(self) -> list[slice]:
        """Where the first layer's weights and the classifier's weights and bias are."""
        assert self.server.model is not None
        model = self.server.model()
        first = next(name for name, shape in model.shapes.items() if len(shape) >= 2)
        names = dict.fromkeys([first, "classifier.weight", "classifier.bias"])
        return [model.layers[name] for name in names]


def differences(rows: Tensor) -> Tensor:
    """Sigmoid of the differences of all ordered pairs of (M, D) ``rows``: (M (M - 1), D)."""
    i, j = torch.meshgrid(torch.arange(len(rows)), torch.arange(len(rows)), indexing="ij")
    pairs = torch.stack([i[i != j], j[i != j]])
    first, second = to_device(pairs, rows.device)
    return torch.sigmoid(rows[first] - rows[second])


def layer_votes(squared: Tensor, farthest: float) -> Tensor:
    """Votes (K,) float64 that clients get in a layer, from the squared distances (K, K) of their updates of it."""
    count = len(squared)
    starts = min(max(round(farthest * count), 1), count - 1)
    labels = [around(squared, k, starts) for k in range(count)]
    found = [calinski_harabasz(squared, label) for label in labels]
    scores = round_significant(torch.tensor(found, dtype=torch.float64))
    low, high = scores.min(), scores.max()
    weights = (scores - low) / (high - low) if high > low else torch.ones_like(scores)
    together = torch.stack([label == label[k] for k, label in enumerate(labels)])  # voter × client
    return weights @ together.double()


def around(squared: Tensor, client: int, farthest: int) -> Tensor:
    """Labels (K,) of k-means that starts from ``client`` and the ``farthest`` clients from it, by Lloyd's steps.

    Distances to the mean of a cluster c are those to its members: mean D_jm - mean D_mm' / 2. Means are never formed.
    """
    far = torch.argsort(squared[client], stable=True, descending=True)[:farthest]
    labels = squared[:, [client, *far.tolist()]].argmin(dim=1)
    for _ in range(300):
        members = torch.nn.functional.one_hot(labels, farthest + 1).double()
        shares = members / members.sum(dim=0).clamp(min=1)
        apart = squared @ shares - ((shares.T @ squared) * shares.T).sum(dim=1) / 2
        nearest = round_significant(apart).masked_fill(members.sum(dim=0) == 0, math.inf).argmin(dim=1)
        if torch.equal(nearest, labels):
            break
        labels = nearest
    return labels


def calinski_harabasz(squared: Tensor, labels: Tensor) -> float:
    """Between over within clusters, each over its degrees of freedom; 0 of one cluster, 1 where none has any spread."""
    count, clusters = len(labels), sorted(set(labels.tolist()))
    if not 1 < len(clusters) < count:
        return 0.0
    groups = [squared[labels == label][:, labels == label] for label in clusters]
    within = sum(float(group.sum()) / (2 * len(group)) for group in groups)
    whole = float(squared.sum()) / (2 * count)
    if within <= 1e-12 * whole:
        return 1.0
    return (whole - within) * (count - len(clusters)) / (within * (len(clusters) - 1))
