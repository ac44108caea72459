"""Decoded splits as numpy arrays: decoding, canonical order, checks, content hash."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from clipfed_bench.core.errors import DamagedFileError, DataError
from clipfed_bench.core.image_files import as_rgb, opened
from clipfed_bench.core.splits import Bytes, Index, Split
from clipfed_bench.data.info import Info

T = TypeVar("T")

LONGEST_CAPTION = 2000
"""Characters; CLIP reads 77 tokens."""


def decode(data: bytes | Path, side: int, where: str, resize: bool = False) -> Bytes:
    """One encoded image (PNG, JPEG, WebP …) as (3, side, side) uint8 RGB.

    With ``resize`` an image of another size is cropped to its central square and resampled (Lanczos); without, it is
    an error.

    Raises DataError: the bytes are no whole image of a format that is read (:mod:`clipfed_bench.core.image_files`), or
    the size is wrong; ``where`` names the image in the message.
    """
    try:
        with opened(data) as picture:
            if picture.size != (side, side) and not resize:
                raise DataError(f"{where}: the image is {picture.width}×{picture.height}; {side}×{side} was expected.")
            image = as_rgb(picture)
    except DamagedFileError as error:
        raise DataError(f"{where}: the image cannot be decoded, it is truncated or no image ({error}).") from error
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)


def gray(images: Bytes) -> Bytes:
    """(N, 3, H, W) RGB -> (N, 1, H, W): luma as of ITU-R BT.601, rounded."""
    weights = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    luma: Bytes = (images * weights).sum(axis=1, keepdims=True).round().astype(np.uint8)
    return luma


def as_channels(images: Bytes, channels: int) -> Bytes:
    """(N, 3, H, W) RGB as (N, ``channels``, H, W): as they are for 3, gray for 1, some at a time."""
    if channels == 3:
        return images
    out = np.empty((len(images), 1, *images.shape[2:]), dtype=np.uint8)
    for start in range(0, len(images), 4096):
        out[start : start + 4096] = gray(images[start : start + 4096])
    return out


def decode_all(
    items: Sequence[bytes | Path], side: int, where: Callable[[int], str], resize: bool = False, what: str = "images"
) -> Bytes:
    """Every image of ``items``, (N, 3, side, side) uint8, with a progress bar where standard error is a terminal."""
    out = np.empty((len(items), 3, side, side), dtype=np.uint8)
    for i in decoding(range(len(items)), len(items), what):
        out[i] = decode(items[i], side, where(i), resize)
    return out


def decoding(steps: Iterable[T], images: int, what: str, total: int | None = None) -> Iterable[T]:
    """``steps``, with a progress bar where standard error is a terminal and there are many ``images``."""
    console, hidden = Console(stderr=True), not sys.stderr.isatty() or images < 5000
    return track(steps, f"decoding {what}", total=total, console=console, transient=True, disable=hidden)


def canonical_order(images: Bytes, labels: Index) -> Index:
    """An order of the images that depends on their pixels and labels alone: by SHA-256.

    So which source was read, and the order of its rows, affect no number; and "the first n of a class" is a fixed,
    arbitrary choice that no seed changes.
    """
    keys = [
        hashlib.sha256(image.tobytes() + int(label).to_bytes(8, "little", signed=True)).digest()
        for image, label in zip(images, labels, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def first_per_class(labels: Index, counts: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Mask of the first ``counts[c]`` items of every class c (all of them where a class has fewer)."""
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts):
        mask[np.flatnonzero(labels == label)[:count]] = True
    return mask


def content_hash(*splits: Split) -> str:
    """SHA-256 of images, labels, captions and writers, in order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(repr(split.images.shape).encode())
        digest.update(np.ascontiguousarray(split.images).data)
        digest.update(np.ascontiguousarray(split.labels, dtype="<i8").data)
        digest.update("\0".join(split.captions or ()).encode())
        if split.writers is not None:
            digest.update(np.ascontiguousarray(split.writers, dtype="<i8").data)
    return digest.hexdigest()


def channel_stats(images: Bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]; exact, from a histogram of byte values."""
    values = np.arange(256) / 255.0
    counts = np.stack([np.bincount(images[:, c].reshape(-1), minlength=256) for c in range(images.shape[1])])
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    return mean, np.sqrt(shares @ values**2 - mean**2)


def check_labels(labels: Index, classes: int, where: str, first: int = 0) -> None:
    """Raise DataError at the first label outside 0 … classes - 1; ``first`` is the number of the first row."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: label out of range in row {first + row}: {labels[row]} (labels go from 0 to {classes - 1}; "
            f"{len(wrong)} rows are wrong)."
        )


def check_captions(texts: Sequence[str], where: Callable[[int], str]) -> None:
    """Raise DataError at the first caption that is longer than any model reads: they are kept side by side."""
    for row, text in enumerate(texts):
        if len(text) > LONGEST_CAPTION:
            raise DataError(
                f"{where(row)}: a caption of {len(text):,} characters; {LONGEST_CAPTION:,} is the most there may be."
            )


def long_tail(labels: Index, known: Info, where: str) -> str:
    """What is to be said where training ``labels`` look like a long tail that somebody has cut; empty where not.

    That is: images of every class and of none too many, at least twice as many of the largest as of the smallest, and
    not just one class that stands out. A shard that is missing takes images of all classes alike, or whole classes.
    """
    counts = np.sort(np.bincount(labels, minlength=len(known.classes)))
    if len(set(known.train)) > 1:  # it is none that is balanced
        return ""
    if counts[0] == 0 or counts[-1] > max(known.train) or counts[-2] < 2 * counts[0] or counts[-1] < 2 * counts[1]:
        return ""
    if counts[-1] - counts[0] < 6 * np.sqrt(counts.mean()):  # so much is chance
        return ""
    factor = counts[-1] / counts[0]
    return (
        f"{where}: {counts.sum():,} training images, from {counts[-1]:,} to {counts[0]:,} a class. This looks like a "
        f"{known.name} whose long tail (imbalance factor {factor:.3g}) is cut already, not like a damaged copy. Here "
        "long tails are cut from the complete data set, alike for all runs: give that one, with "
        f"--dataset {known.name}-lt --imbalance-factor {factor:.3g}."
    )


def check_complete(labels: Index, name: str, known: Info, where: str) -> None:
    """Raise DataError unless ``labels`` of split ``name`` are exactly as many of each class as the data set has.

    Where their numbers are not exact, some of each class to train on will do.
    """
    check_labels(labels, len(known.classes), where)
    expected = known.counts(name)
    counts = np.bincount(labels, minlength=len(known.classes))
    missing = [c for c, count in zip(known.classes, counts, strict=True) if count == 0]
    if missing and (known.exact or name == "train"):
        raise DataError(f"{where}: the {name} split of {known.name} has no image of class {', '.join(missing)}.")
    if name == "train" and (tail := long_tail(labels, known, where)):
        raise DataError(tail)
    wrong = [(c, n, e) for c, n, e in zip(known.classes, counts, expected, strict=True) if n != e]
    if known.exact and wrong:
        even = len(set(expected)) == 1
        needed = f"{expected[0]:,} images of each class" if even else f"{sum(expected):,} images"
        found = ", ".join(f"{c} {n:,}" if even else f"{c} {n:,} and not {e:,}" for c, n, e in wrong[:5])
        raise DataError(
            f"{where}: the {name} split of {known.name} must hold {needed}; "
            f"it holds {found}{' …' if len(wrong) > 5 else ''}."
        )
