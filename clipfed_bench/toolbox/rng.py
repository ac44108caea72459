"""Seeded randomness: one independent stream for each (seed, purpose, index...).

Global random state is never read or written, so that every defense of a comparison sees the same clients and batches,
and a cell gives the same numbers whatever runs beside it. Streams live on the CPU also when the model does not: the
device must not change a draw. Only defenses' noise of millions of values (FLAME, DeepSight) is drawn where it is used:
a GPU draws other values for a seed than a CPU.
"""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed that depends on every argument, for generators of any library."""
    text = "/".join([str(seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, purpose: str, *index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` for one purpose, e.g. ``generator(seed, "batches", round, client)``."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, *index))
