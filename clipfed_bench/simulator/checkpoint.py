"""Unfinished work on disk, so that a process that is killed costs minutes and not the cell.

A checkpoint is one safetensors file: tensors, and in its header everything else as JSON. It is written whole or not at
all, and holds what changes from round to round; random streams are derived anew in each round, so work that goes on
from a checkpoint gives the same numbers, to the bit, as work that was never stopped.

It counts only for who would have written the same: the same sources, library versions, device, data and settings.
Otherwise a cell would be measured half with this and half with that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from clipfed_bench.core.errors import DamagedFileError, UserError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import Environment
from clipfed_bench.core.untrusted import parse_json, reading
from clipfed_bench.runs.digests import PREFIX
from clipfed_bench.toolbox.tensor_files import read_tensors

INTERVAL = 120.0
"""Seconds of work between checkpoints that come by time."""

SHARE = 0.05
"""Most of the time that may go into writing them: slow disks and large models get fewer."""


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint."""

    round: int
    """The last round it holds."""
    tensors: dict[str, Tensor]
    """In memory of their own, on the device."""
    facts: dict[str, Any]


def identity(key: str, facts: Mapping[str, str]) -> dict[str, str]:
    """What a checkpoint has to agree with: the work's key and provenance, which has digests of what it is made from."""
    relevant = {name: value for name, value in facts.items() if name not in ("git_sha", "platform")}
    return relevant | {"key": key}


class Checkpoint:
    """The checkpoint of one piece of work, ``NAME.safetensors`` in the environment's folder, if it has one."""

    def __init__(
        self, env: Environment, name: str, identity: Mapping[str, str], warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self.path = env.checkpoint_dir / f"{name}.safetensors" if env.checkpoint_dir is not None else None
        self._every, self._device = env.checkpoint_every, env.device
        self._identity, self._warn = dict(identity), warn
        self._last, self._cost = time.monotonic(), 0.0

    def load(self) -> Saved | None:
        """What was kept; None where nothing was. What is broken or not ours is ignored, with a warning."""
        if self.path is None or not self.path.exists():
            return None
        try:
            round_, theirs, facts, tensors = _read(self.path)
        except DamagedFileError as error:
            self._warn(f"the checkpoint {self.path} cannot be used and is ignored: {shown(error, 300)}")
            return None
        ours = self._identity
        if differing := sorted(name for name in theirs | ours if theirs.get(name) != ours.get(name)):
            other = [name.removeprefix(PREFIX) for name in differing]
            self._warn(f"the checkpoint {self.path} is ignored: it was made with other {shown(', '.join(other), 300)}")
            return None
        return Saved(round_, {k: v.to(self._device) for k, v in tensors.items()}, facts)

    def due(self, round_: int) -> bool:
        """Whether one should be written after ``round_``."""
        if self.path is None or self._every == 0:
            return False
        if self._every is not None:
            return round_ % self._every == 0
        return time.monotonic() - self._last >= max(INTERVAL, self._cost / SHARE)

    def save(self, round_: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep ``tensors`` and ``facts`` (what JSON can hold, and NaN) in place of what was kept before.

        A folder that cannot be written costs safety, never the cell: there is one warning.
        """
        assert self.path is not None
        begin = time.monotonic()
        stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        text = json.dumps({"round": round_, "identity": self._identity, "facts": facts})
        try:
            write_atomically(self.path, save(stored, metadata={"state": text, "digest": content_digest(text, stored)}))
        except UserError as error:
            self._warn(f"no checkpoint: {error}")
            self._warn = lambda text: None
        self._last = time.monotonic()
        self._cost = self._last - begin

    def remove(self) -> None:
        """Drop it, the work being done."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


def _read(path: Path) -> tuple[int, dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Round, identity, facts and tensors. Raises DamagedFileError."""
    with reading():
        mapped, header = read_tensors(path)
        # Cloned: numbers must not depend on where in the file, and so in memory, a tensor begins.
        tensors = {name: value.clone() for name, value in mapped.items()}
        if header["digest"] != content_digest(header["state"], tensors):
            raise DamagedFileError("its content is damaged")
        return *_parts(header["state"]), tensors


def _parts(text: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Round, identity and facts of a header. Raises DamagedFileError."""
    state = parse_json(text, "its header is")
    whole = state if isinstance(state, dict) else {}
    round_, identity, facts = (whole.get(name) for name in ("round", "identity", "facts"))
    if type(round_) is not int or round_ < 1 or not isinstance(identity, dict) or not isinstance(facts, dict):
        raise DamagedFileError("its header is not that of a checkpoint")
    return round_, identity, facts


def content_digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of format, text, and each tensor's name, dtype, shape and bytes."""
    total = hashlib.sha256(f"checkpoint 1\n{len(text)}\n{text}".encode())
    for name, value in sorted(tensors.items()):
        total.update(f"{len(name)} {name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
