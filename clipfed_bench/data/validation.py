"""A validation split: images kept from training, for every choice that is made by looking at results.

A tenth of what a class has, with what a long tail discards, and at most 200 images of it [ours]: from the end of those
that the long tail discards, and only then of the clients'. It depends on the data set alone, never on a seed.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.images import Dataset, Images

SHARE = 0.1
MOST = 200


def on_validation(dataset: Dataset) -> Dataset:
    """``dataset`` with validation images in place of its test images, and without them everywhere else.

    Raises UserError where a class has fewer than two images.
    """
    pools = [part for part in (dataset.discarded, dataset.train) if part is not None]
    pooled = Images(torch.cat([p.images for p in pools]), torch.cat([p.labels for p in pools]))
    clients = len(pooled) - len(dataset.train)
    chosen = torch.zeros(len(pooled), dtype=torch.bool)
    for label, name in enumerate(dataset.classes):
        members = (pooled.labels == label).nonzero().flatten()
        if len(members) < 2:
            raise UserError(
                f"evaluate validation: class '{name}' of {dataset.name} has {len(members)} training images; two are "
                "needed."
            )
        count = max(1, min(MOST, int(SHARE * len(members))))
        spare = members[members < clients]
        own = members[members >= clients]
        chosen[spare[max(0, len(spare) - count) :]] = True
        chosen[own[len(own) - max(0, count - len(spare)) :]] = True
    kept = ~chosen
    return replace(
        dataset,
        train=dataset.train.take(kept[clients:].nonzero().flatten()),
        test=pooled.take(chosen.nonzero().flatten()),
        discarded=None if dataset.discarded is None else dataset.discarded.take(kept[:clients].nonzero().flatten()),
    )
