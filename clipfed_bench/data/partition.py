"""Who holds which training image, by any partition.

Every image goes to exactly one client, and every client gets at least ``min_samples``: after the draw, randomly chosen
images move one by one from the client that then holds most to the clients below the minimum. Each move lowers the
total deficit by one, so this ends; and where the draw already satisfies the minimum, nothing moves.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import choose, create_partition
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.partition import Samples
from clipfed_bench.core.splits import Index
from clipfed_bench.toolbox.rng import stream_seed

_MOST_CLIENTS = 1_000_000

Labels = np.ndarray[Any, Any] | Tensor


def partition(
    labels: Labels,
    num_classes: int,
    clients: int,
    choice: Choice | str,
    *,
    min_samples: int = 1,
    seed: int = 0,
    writers: Labels | None = None,
) -> list[Tensor]:
    """Sorted int64 indices into ``labels`` for each client; together they are 0 … N-1, each once.

    ``labels`` and ``writers``, if known, are (N,) whole numbers; ``choice`` is a partition as users write it, such as
    ``dirichlet[alpha=0.1]``.

    Raises UserError: no such partition, an option is out of range, there are too few clients or images for it, or
    ``clients * min_samples`` exceeds the number of images.
    """
    chosen = choose("partition", choice) if isinstance(choice, str) else choice
    samples = Samples(_host(labels), num_classes, None if writers is None else _host(writers))
    _check_sizes(len(samples), clients, min_samples)
    if chosen.component.needs_writers and samples.writers is None:
        raise UserError(f"partition {chosen.name}: the data set does not say who made its images; use another one.")
    scheme = create_partition(chosen)
    scheme.check(clients, np.bincount(samples.labels, minlength=num_classes).tolist())
    draw = np.random.default_rng(stream_seed(seed, f"partition/{chosen.name}"))
    owner = _checked(scheme.assign(samples, clients, draw), len(samples), clients, chosen.name)
    held = _by_owner(_raise_to_minimum(owner, clients, min_samples, draw), clients)
    return [torch.from_numpy(indices) for indices in held]


def _host(values: Labels) -> Index:
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values, dtype=np.int64)


def _by_owner(owner: Index, clients: int) -> list[Index]:
    """The indices that each client owns, ascending."""
    order = np.argsort(owner, kind="stable")
    return np.split(order, np.cumsum(np.bincount(owner, minlength=clients))[:-1])


def _raise_to_minimum(owner: Index, clients: int, minimum: int, draw: np.random.Generator) -> Index:
    owner = owner.copy()
    counts = np.bincount(owner, minlength=clients)
    # Who gives holds more than the minimum, who takes ends at it: nobody does both, so what donors hold only shrinks.
    donors = [(-int(count), client) for client, count in enumerate(counts) if count > minimum]
    heapq.heapify(donors)
    held = _by_owner(owner, clients) if counts.min() < minimum else []
    kept: dict[int, list[int]] = {}
    for client in np.flatnonzero(counts < minimum).tolist():
        for _ in range(minimum - int(counts[client])):
            count, donor = heapq.heappop(donors)  # the one that holds most, of several the first
            if donor not in kept:
                kept[donor] = held[donor].tolist()
            indices = kept[donor]
            owner[indices.pop(int(draw.integers(len(indices))))] = client
            heapq.heappush(donors, (count + 1, donor))
    return owner


def _checked(owner: object, images: int, clients: int, name: str) -> Index:
    """``owner`` if it is the owner of each image. Raises UserError."""
    found = f"{owner.dtype} {owner.shape}" if isinstance(owner, np.ndarray) else type(owner).__name__
    if not isinstance(owner, np.ndarray) or found != f"int64 {(images,)}":
        raise UserError(f"partition {name}: it assigns {found}; int64 {(images,)} is needed, the owner of each image.")
    wrong = owner[(owner < 0) | (owner >= clients)]
    if len(wrong):
        raise UserError(f"partition {name}: client {shown(wrong[0])} gets an image; they go from 0 to {clients - 1}.")
    return owner


def _check_sizes(images: int, clients: int, minimum: int) -> None:
    if not 1 <= clients <= _MOST_CLIENTS:
        raise UserError(f"partition: {clients:,} clients; at least 1 is needed, and {_MOST_CLIENTS:,} are possible.")
    if minimum < 0:
        raise UserError(f"partition: a minimum of {minimum} images per client; it must be 0 or more.")
    if clients * minimum > images:
        raise UserError(
            f"partition: {clients} clients with at least {minimum} images each need {clients * minimum:,}, but there "
            f"are {images:,}; at most {images // clients} each, or {images // minimum} clients, are possible."
        )
