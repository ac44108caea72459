"""``load_dataset``: any data set of the catalog as uint8 tensors, long tail cut, nothing partitioned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipfed_bench.core.errors import DataError, shown
from clipfed_bench.core.notices import notice
from clipfed_bench.core.paths import data_root
from clipfed_bench.core.splits import Bytes, Index, Split
from clipfed_bench.data import cache
from clipfed_bench.data import plugin_sets as added
from clipfed_bench.data.arrays import canonical_order, channel_stats, check_complete, content_hash, first_per_class
from clipfed_bench.data.catalog import base_name, info, resolve_imbalance
from clipfed_bench.data.feasible import class_counts
from clipfed_bench.data.formats import find as sources
from clipfed_bench.data.formats.search import Found
from clipfed_bench.data.info import Info
from clipfed_bench.toolbox.images import Dataset, Images


def load_dataset(name: str, data_dir: Path | None = None, imbalance_factor: float | None = None) -> Dataset:
    """A data set by name (see :func:`clipfed_bench.data.catalog.datasets`), on the CPU.

    One in files is found by content under ``data_dir`` (default: environment ``CLIPFED_BENCH_DATA``, else the cache
    folder), in the first of its forms that is complete, as Hugging Face parquet or the official archive; CIFAR is
    downloaded else. It is decoded once into a cached array. Images are in canonical order (by SHA-256 of their
    pixels), so every lossless source gives the same data set.

    A ``-lt`` training split keeps the first n_c images of each class in that order; the rest is ``discarded``. So
    what the tail keeps is fixed, whatever the seed, and a higher factor keeps a subset. ``imbalance_factor`` None
    means 10 for ``-lt`` and is the only value besides 1 elsewhere. Test splits are never cut.

    Raises UserError: unknown name or impossible imbalance factor. Raises DataError: the data set is not found, damaged
    or incomplete, or its plug-in fails.
    """
    base = base_name(name)
    factor = resolve_imbalance(name, imbalance_factor)
    known, classes = info(base), info(base).classes
    if known.stored:
        arrays, kind = _stored(known, data_root(data_dir))
    else:
        splits = added.load(known, data_root(data_dir))
        arrays = _pack(*(splits if known.embedded else map(_canonical, splits)))
        kind = known.source or f"plug-in {known.module}"
    images, labels = (arrays[f"train_{part}"] for part in ("images", "labels"))
    # They are in canonical order, so what a long tail keeps depends on neither a cell's seed nor the source.
    keep = first_per_class(labels, class_counts(int(np.bincount(labels).max()), factor, len(classes)))
    kept, cut = (images, images[:0]) if keep.all() else (images[keep], images[~keep])  # all of them are no copy
    writers = arrays.get("train_writers")
    mean, std = (tuple(float(v) for v in arrays[key]) for key in ("mean", "std"))
    return Dataset(
        name,
        classes,
        as_images(_first(kept), labels[keep], None if writers is None else writers[keep]),
        as_images(_first(arrays["test_images"]), arrays["test_labels"]),
        mean,
        std,
        f"{kind}, sha256 {arrays['hash']}",
        None if name == base else as_images(_first(cut), labels[~keep]),
    )


def as_images(images: Bytes, labels: Index, writers: Index | None = None) -> Images:
    """Arrays (N, C, H, W) and (N,) as :class:`Images`, channels last; sharing memory where they are so already."""
    pixels = torch.from_numpy(np.ascontiguousarray(_last(images))).permute(0, 3, 1, 2)
    found = None if writers is None else torch.from_numpy(np.ascontiguousarray(writers))
    return Images(pixels, torch.from_numpy(np.ascontiguousarray(labels)), found)


def _last(images: Bytes) -> Bytes:
    """Channels last; a view."""
    return images.transpose(0, 2, 3, 1)


def _first(images: Bytes) -> Bytes:
    """Channels first; a view."""
    return images.transpose(0, 3, 1, 2)


def _stored(known: Info, root: Path) -> tuple[cache.Arrays, str]:
    failed: list[DataError] = []
    for found in sources.find(known, root):
        try:
            purpose = f"dataset {known.name} {known.train} {known.test}"
            key = cache.source_key(purpose, found.files, known.module)
            arrays = cache.cached(key, partial(_build, known, found))
        except DataError as error:
            failed.append(error)
        else:
            for reason in failed:
                notice(f"{reason} It is passed over; {shown(found.where)} is taken.")
            return arrays, found.kind
    raise failed[0]


def _build(known: Info, found: Found) -> cache.Arrays:
    splits = {}
    for split in ("train", "test"):
        splits[split] = found.read(split)
        check_complete(splits[split].labels, split, known, str(found.where))
    arrays = _pack(*(_canonical(splits[s]) for s in ("train", "test")))
    _check_pixels(known, arrays["mean"], found)
    return arrays


def _canonical(split: Split) -> Split:
    return split.take(canonical_order(split.images, split.labels))


def _pack(train: Split, test: Split) -> cache.Arrays:
    mean, std = channel_stats(train.images)
    writers = {} if train.writers is None else {"train_writers": train.writers}
    return {
        **writers,
        "train_images": np.ascontiguousarray(_last(train.images)),
        "train_labels": train.labels,
        "test_images": np.ascontiguousarray(_last(test.images)),
        "test_labels": test.labels,
        "mean": mean,
        "std": std,
        "hash": np.array(content_hash(train, test)),
    }


def _check_pixels(known: Info, mean: np.ndarray[Any, Any], found: Found) -> None:
    """A generated data set can have the same classes and sizes, but not the same mean color."""
    if known.mean is not None and np.abs(mean - np.array(known.mean)).max() > 0.002:
        shown, wanted = (", ".join(f"{v:.4f}" for v in m) for m in (mean, known.mean))
        raise DataError(
            f"{found.where}: {found.kind} with the classes and sizes of {known.name}, but not its pixels: the mean "
            f"color is ({shown}), ({wanted}) was expected. Is it a generated data set?"
        )
