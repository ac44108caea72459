"""The server's data set D_s (PAPER section 2(a)): generated images, rendered glyphs, or held-out real images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipfed_bench.core.errors import DataError, UserError
from clipfed_bench.core.files import expand
from clipfed_bench.core.notices import notice
from clipfed_bench.core.paths import data_root
from clipfed_bench.core.splits import Bytes, Split
from clipfed_bench.data import plugin_sets as added
from clipfed_bench.data.arrays import canonical_order, content_hash, first_per_class, gray
from clipfed_bench.data.cache import Arrays, cached, source_key
from clipfed_bench.data.catalog import base_name, info
from clipfed_bench.data.datasets import as_images
from clipfed_bench.data.feasible import check_server_data, holdout_size
from clipfed_bench.data.formats import server_images as generated
from clipfed_bench.data.server_set import captions
from clipfed_bench.data.server_set.glyphs import PER_CLASS, glyphs
from clipfed_bench.data.server_set.holdout import held_out, reserve_holdout
from clipfed_bench.data.server_set.near import near_duplicates
from clipfed_bench.toolbox.images import Dataset, ServerData

_CHANCE = 0.001
"""Share of images that may look like the data set's own in a set that is found by name."""

__all__ = ["load_server_data", "reserve_holdout"]


def load_server_data(
    spec: str, dataset: Dataset, data_dir: Path | None = None, per_class: int | None = None
) -> ServerData:
    """The server data set that ``spec`` names, at the data set's image size, uint8, on the CPU.

    - ``NAME-generated`` of a data set in files, as ``cifar10-generated``: found by content under ``data_dir``
      (:func:`clipfed_bench.data.formats.server_images.by_name`); labelled ``generated``.
    - a path to a parquet file or folder, or a folder of class folders; labelled ``generated``. Classes may be missing.
    - ``NAME-generated`` of a data set that loads itself: what :meth:`clipfed_bench.api.DataSource.generated` gives.
    - ``glyphs``: for digits (:mod:`clipfed_bench.data.server_set.glyphs`).
    - ``holdout:N``: N real images per class that no client holds (:func:`reserve_holdout`); ``dataset`` is the
      original, before the reservation.

    ``per_class`` takes at most so many images of each class: the first in canonical order (by SHA-256 of the pixels),
    so the choice is fixed, and a smaller number gives a subset. Captions are those stored, else class names in a few
    templates (:mod:`clipfed_bench.data.server_set.captions`).

    Raises UserError: unknown spec, glyphs for other data than digits, N or ``per_class`` impossible. Raises DataError:
    not found, damaged, foreign classes, or images that the data set itself contains.
    """
    if per_class is not None and per_class < 1:
        raise UserError(f"server data: {per_class} images per class; at least 1 is needed.")
    base = base_name(dataset.name)
    check_server_data(spec, dataset.name)
    size = holdout_size(spec)
    if size is not None:
        images = held_out(dataset, size)
        return _finish(Split(images.images.numpy(), images.labels.numpy()), dataset, per_class, f"{spec} (upper bound)")
    if spec == "glyphs":
        return _finish(glyphs(per_class or PER_CLASS), dataset, None, "glyphs")
    known = info(base)
    if spec == known.made_server_data:
        split = added.generated(known, data_root(data_dir))
    else:
        source = _source(spec, base, data_dir)
        for note in source.notes:
            notice(note)
        split = _read(source, dataset)
    return _finish(split, dataset, per_class, _check_foreign(split, dataset, spec))


def _source(spec: str, base: str, data_dir: Path | None) -> generated.Source:
    if _by_name(spec, base):
        return generated.by_name(base, data_root(data_dir))
    return generated.by_path(expand(spec, "server data"))


def _by_name(spec: str, base: str) -> bool:
    """Whether ``spec`` is looked for by content."""
    return info(base).stored and spec == f"{base}-generated"


def _read(source: generated.Source, dataset: Dataset) -> Split:
    """The source's images in canonical order, decoded once."""
    side = dataset.train.images.shape[-1]

    def build() -> Arrays:
        split = source.read(dataset.classes, side)
        split = split.take(canonical_order(split.images, split.labels))
        arrays: Arrays = {"images": split.images, "labels": split.labels}
        return arrays if split.captions is None else {**arrays, "captions": np.array(split.captions)}

    arrays = cached(source_key(f"server {side} {dataset.classes}", source.files), build)
    stored = tuple(arrays["captions"].tolist()) if "captions" in arrays else None
    channels = dataset.train.images.shape[1]
    return Split(arrays["images"] if channels == 3 else gray(arrays["images"]), arrays["labels"], stored)


def _finish(split: Split, dataset: Dataset, per_class: int | None, label: str) -> ServerData:
    if not len(split.labels):
        raise DataError(f"server data '{label}': it holds no image.")
    if per_class is not None:
        order = canonical_order(split.images, split.labels)
        split = split.take(order)
        mask = first_per_class(split.labels, [per_class] * len(dataset.classes))
        split = split.take(np.flatnonzero(mask))
    usual = captions.expand(split.labels, dataset.classes, info(dataset.name).captions or captions.PHOTO)
    texts = tuple(own or other for own, other in zip(split.captions or usual, usual, strict=True))
    split = Split(split.images, split.labels, texts)
    return ServerData(as_images(split.images, split.labels), texts, label, content_hash(split))


def _check_foreign(split: Split, dataset: Dataset, spec: str) -> str:
    """What tables call it: generated, as far as can be seen.

    It must not contain images of the data set itself, told by exact pixels; nor, if it was found by name alone, images
    that were made of those. In what the user named such are said. Raises DataError.
    """
    parts = [part.images.numpy() for part in (dataset.train, dataset.test, dataset.discarded) if part is not None]
    own = {_pixel_hash(image) for part in parts for image in part}
    shared = sum(_pixel_hash(image) in own for image in split.images)
    if shared:
        raise DataError(
            f"server data '{spec}': {shared:,} of its {len(split.labels):,} images are images of {dataset.name} "
            "itself, which the server must not have. For real images that no client holds, use holdout:N."
        )
    near = _near(split.images, parts)
    if not near:
        return "generated"
    base = base_name(dataset.name)
    what = f"{near:,} of {len(split.labels):,} images look like {base}'s own, encoded again or resized"
    if _by_name(spec, base) and near > _CHANCE * len(split.labels):
        raise DataError(
            f"server data '{spec}': {what}, so it is not taken by itself. Remove them, or name another set by its "
            "path; for real images that no client holds, use holdout:N."
        )
    notice(f"server data '{spec}': {what}; the server should have none of the clients' images.")
    return f"generated, but {what}"


def _near(images: Bytes, parts: Sequence[Bytes]) -> int:
    """As :func:`near_duplicates`, whose seconds one process of a machine takes for all."""
    digest = hashlib.sha256()
    for part in (images, *parts):
        digest.update(np.ascontiguousarray(part.transpose(0, 2, 3, 1)).data)  # as they lie in memory
    key = f"near-{digest.hexdigest()[:32]}"
    count = cached(key, lambda: {"n": np.array(near_duplicates(images, np.concatenate(parts)))})
    return int(count["n"])


def _pixel_hash(image: Bytes) -> bytes:
    return hashlib.sha256(image.transpose(1, 2, 0).tobytes()).digest()  # as it lies in memory
