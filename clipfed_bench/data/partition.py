"""Who holds which training image: IID, Dirichlet, or the paper's degree of non-IID.

Every image goes to exactly one client, and every client gets at least ``min_samples``: after the draw, randomly chosen
images move one by one from the client that then holds most to the clients below the minimum. Each move lowers the
total deficit by one, so this ends; and where the draw already satisfies the minimum, nothing moves.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.splits import Index
from clipfed_bench.toolbox.rng import stream_seed

SCHEMES = ("iid", "dirichlet", "degree")

_LARGEST_ALPHA = 1e9
"""Beyond, sums of gamma draws may overflow, and the partition is even long before."""

_MOST_CLIENTS = 1_000_000

Scheme = Literal["iid", "dirichlet", "degree"]


def partition(
    labels: np.ndarray[Any, Any] | Tensor,
    num_classes: int,
    clients: int,
    *,
    scheme: Scheme,
    alpha: float | None = None,
    degree: float | None = None,
    min_samples: int = 1,
    seed: int = 0,
) -> list[Tensor]:
    """Sorted int64 indices into ``labels`` for each client; together they are 0 … N-1, each once.

    ``iid``: a random permutation in parts whose sizes differ by at most one; needs neither parameter.

    ``dirichlet``: for each class, shares of the clients are drawn from Dir(``alpha`` · 1) and the class's images, in
    random order, are cut at the cumulative shares (Hsu et al., "Measuring the Effects of Non-Identical Data
    Distribution", 2019, in the per-class form of Li et al., "Federated Learning on Non-IID Data Silos", 2022).

    ``degree``: client i belongs to group i mod C, so group sizes differ by at most one where C does not divide the
    number of clients. An image of class l goes to group l with probability q = ``degree``, to each other group with
    (1-q)/(C-1), and to a uniformly drawn client of the group (FLTrust, NDSS 2021, section VI-A) [lineage]. With equal
    groups, q = 1/C is IID in distribution. The lineage's code cuts quotas instead of drawing, and gives every client
    equally many images; here, as in FLTrust, the numbers vary from client to client.

    Raises UserError: a parameter is missing or out of range, there are fewer clients than classes with ``degree``, or
    ``clients * min_samples`` exceeds the number of images.
    """
    array: Index = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels, dtype=np.int64)
    _check(len(array), num_classes, clients, scheme, alpha, degree, min_samples)
    rng = np.random.default_rng(stream_seed(seed, f"partition/{scheme}"))
    if scheme == "iid":
        owner = rng.permutation(np.arange(len(array)) % clients)
    elif scheme == "dirichlet":
        assert alpha is not None
        owner = _dirichlet(array, num_classes, clients, alpha, rng)
    else:
        assert degree is not None
        owner = _degree(array, num_classes, clients, degree, rng)
    owner = _raise_to_minimum(owner, clients, min_samples, rng)
    return [torch.from_numpy(np.flatnonzero(owner == client)) for client in range(clients)]


def _dirichlet(labels: Index, classes: int, clients: int, alpha: float, rng: np.random.Generator) -> Index:
    owner = np.empty(len(labels), dtype=np.int64)
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
        # A float sum may end just above 1; searchsorted on the middles of equal steps needs no rounding rule.
        middles = (np.arange(len(members)) + 0.5) / max(len(members), 1)
        owner[members] = np.searchsorted(cuts, middles, side="right")
    return owner


def _degree(labels: Index, classes: int, clients: int, degree: float, rng: np.random.Generator) -> Index:
    shift = rng.integers(1, classes, size=len(labels)) if classes > 1 else np.zeros(len(labels), dtype=np.int64)
    own = rng.random(len(labels)) < degree
    group = np.where(own, labels, (labels + shift) % classes)
    sizes = np.bincount(np.arange(clients) % classes, minlength=classes)
    place = np.floor(rng.random(len(labels)) * sizes[group]).astype(np.int64)
    return group + classes * place


def _raise_to_minimum(owner: Index, clients: int, minimum: int, rng: np.random.Generator) -> Index:
    owner = owner.copy()
    counts = np.bincount(owner, minlength=clients)
    for client in range(clients):
        while counts[client] < minimum:
            donor = int(counts.argmax())
            index = rng.choice(np.flatnonzero(owner == donor))
            owner[index] = client
            counts[donor] -= 1
            counts[client] += 1
    return owner


def _check(
    samples: int, classes: int, clients: int, scheme: str, alpha: float | None, degree: float | None, minimum: int
) -> None:
    if scheme not in SCHEMES:
        raise unknown("partition", scheme, SCHEMES)
    if not 1 <= clients <= _MOST_CLIENTS:
        raise UserError(f"partition: {clients:,} clients; at least 1 is needed, and {_MOST_CLIENTS:,} are possible.")
    if minimum < 0:
        raise UserError(f"partition: a minimum of {minimum} images per client; it must be 0 or more.")
    if clients * minimum > samples:
        raise UserError(
            f"partition: {clients} clients with at least {minimum} images each need {clients * minimum:,}, but there "
            f"are {samples:,}; at most {samples // clients} each, or {samples // minimum} clients, are possible."
        )
    if scheme == "dirichlet" and not (alpha is not None and 0 < alpha <= _LARGEST_ALPHA):
        raise UserError(
            f"partition dirichlet: alpha is {alpha}; a number above 0, of at most {_LARGEST_ALPHA:g}, is needed (0.1 "
            "skewed, 100 even)."
        )
    if scheme == "degree":
        if degree is None or not 0 <= degree <= 1:
            raise UserError(
                f"partition degree: degree is {degree}; a number from 0 to 1 is needed (paper: 0.2 to 0.6)."
            )
        if clients < classes:
            raise UserError(
                f"partition degree: {clients} clients for {classes} classes; each class has a group of clients, so at "
                f"least {classes} clients are needed."
            )
