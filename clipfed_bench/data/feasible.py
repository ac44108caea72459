"""What data sets have room for, known without reading them: so that impossible settings are refused before a run."""

from __future__ import annotations

from clipfed_bench.components.choice import Choice
from clipfed_bench.components.registry import create_partition
from clipfed_bench.components.scheme import own_options
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.data.catalog import base_name, info, originals

_HOLDOUT = "holdout:"


def class_counts(largest: int, factor: float, classes: int) -> list[int]:
    """n_c = int(n_max · IF^(-c/(C-1))) for classes c = 0 … C-1 [paper: exponential decay; formula inferred].

    >>> class_counts(5000, 10, 10)
    [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]

    Raises UserError: the factor leaves a class without an image.
    """
    counts = [int(largest * factor ** (-c / (classes - 1))) for c in range(classes)]
    if min(counts) < 1:
        raise UserError(
            f"imbalance factor {factor:g} leaves the smallest class without an image; at most {largest} is possible."
        )
    return counts


def train_counts(name: str, factor: float) -> list[int]:
    """Training images of each class of ``name``, whose long tail is cut with ``factor`` (1: it has none).

    Raises UserError: the factor leaves a class without an image.
    """
    there = info(name).train
    wanted = class_counts(max(there), factor, len(there)) if name != base_name(name) else there
    return [min(pair) for pair in zip(there, wanted, strict=True)]


def check_clients(name: str, factor: float, partition: Choice, clients: int, min_samples: int) -> None:
    """Raise UserError where the training images cannot be divided among so many (or so few) clients."""
    counts = train_counts(name, factor)
    if clients * min_samples > sum(counts):
        raise UserError(
            f"clients: {clients:,} of them with min_samples {min_samples:,} need {clients * min_samples:,} images, but "
            f"{name} has {sum(counts):,} to train on; at most {sum(counts) // min_samples:,} clients are possible."
        )
    component = partition.component
    if component.needs_writers and info(name).writers == 0:
        raise UserError(f"partition {partition.name}: {name} does not say who made its images; use another one.")
    if component.checks or own_options(partition):
        try:
            create_partition(partition).check(clients, counts)
        except UserError:
            raise
        except Exception as error:
            reason = f"looking at {clients} clients, it raises {type(error).__name__}: {shown(error, 300)}"
            raise UserError(f"partition '{partition.name}' cannot be used: {reason}") from error


def holdout_size(spec: str) -> int | None:
    """N of ``holdout:N``; None if ``spec`` names something else.

    Raises UserError: N is no whole number above 0.
    """
    if not spec.startswith(_HOLDOUT):
        return None
    text = spec.removeprefix(_HOLDOUT)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise UserError(
            f"server data '{shown(spec)}': '{shown(text)}' is no number of images per class; write e.g. holdout:100."
        )
    return int(text)


def check_server_data(spec: str, name: str) -> None:
    """Raise UserError where the server data ``spec`` cannot be that of data set ``name``; paths are not looked at."""
    base, known, size = base_name(name), info(name), holdout_size(spec)
    own, most = known.server_data, min(known.train) - 1
    if size is not None and size > most:
        raise UserError(
            f"server data {spec}: the smallest class of {base} has {most + 1:,} training images, and the clients must "
            f"keep one; at most holdout:{most} is possible."
        )
    if spec == "glyphs" and base != "digits":
        raise UserError(f"server data 'glyphs' shows digits; {name} needs e.g. {own or 'holdout:N'}.")
    others = {other.server_data for other in originals().values()} - {own, "glyphs"}
    if spec in others:
        choice = f"{own}, a path" if own else "a path"
        raise UserError(f"server data '{spec}' has other classes than {base}; use {choice} or holdout:N.")
