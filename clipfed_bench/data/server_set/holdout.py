"""Server data taken from the real training images: an upper bound, which tables label as such.

Per class, the N images come from those the long tail discards first, and only then from the clients' (from the end of
the canonical order). The choice depends on the data set and N alone, never on a seed.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clipfed_bench.core.errors import UserError
from clipfed_bench.data.feasible import holdout_size
from clipfed_bench.toolbox.images import Dataset, Images


def reserve_holdout(dataset: Dataset, spec: str) -> Dataset:
    """``dataset`` without the images that server data ``spec`` takes; the identity unless it is ``holdout:N``.

    Raises UserError: N leaves a class without a training image.
    """
    size = holdout_size(spec)
    if size is None:
        return dataset
    from_discarded, from_train = _chosen(dataset, size)
    kept = dataset.train.take((~from_train).nonzero().flatten())
    if dataset.discarded is None:
        return replace(dataset, train=kept)
    return replace(dataset, train=kept, discarded=dataset.discarded.take((~from_discarded).nonzero().flatten()))


def held_out(dataset: Dataset, size: int) -> Images:
    """The ``size`` images per class that :func:`reserve_holdout` removes from the original ``dataset``, by class."""
    from_discarded, from_train = _chosen(dataset, size)
    pool = [dataset.train.take(from_train.nonzero().flatten())]
    if dataset.discarded is not None:
        pool.insert(0, dataset.discarded.take(from_discarded.nonzero().flatten()))
    images, labels = torch.cat([p.images for p in pool]), torch.cat([p.labels for p in pool])
    return Images(images, labels).take(labels.argsort(stable=True))


def _chosen(dataset: Dataset, size: int) -> tuple[Tensor, Tensor]:
    """Masks over ``discarded`` (empty if there is none) and ``train``."""
    train = dataset.train.labels
    discarded = train[:0] if dataset.discarded is None else dataset.discarded.labels
    from_discarded, from_train = (torch.zeros(len(labels), dtype=torch.bool) for labels in (discarded, train))
    for label, name in enumerate(dataset.classes):
        spare, held = (discarded == label).nonzero().flatten(), (train == label).nonzero().flatten()
        needed = max(size - len(spare), 0)
        if needed >= len(held):
            raise UserError(
                f"server data holdout:{size}: class '{name}' of {dataset.name} has {len(spare)} unused and {len(held)} "
                f"training images, and the clients must keep one; at most holdout:{len(spare) + len(held) - 1} fits it."
            )
        from_discarded[spare[:size]] = True
        from_train[held[len(held) - needed :]] = True
    return from_discarded, from_train
