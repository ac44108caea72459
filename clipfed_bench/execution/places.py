"""Where a run computes and where its files are, as the user said it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

from clipfed_bench.core.errors import UserError, unknown
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution.executor import Executor, make_executor
from clipfed_bench.execution.gpu import (
    Kernels,
    Precision,
    Steps,
    resolve_graphs,
    resolve_kernels,
    resolve_precision,
    resolve_streams,
)
from clipfed_bench.execution.machine import Device
from clipfed_bench.runs.folder import checkpoints, models, prefixes


@dataclass(frozen=True)
class Places:
    """Raises UserError for values out of range, a folder that is a file, and data that are not there."""

    folder: Path
    """Of the run."""
    device: Device = "auto"
    workers: int | None = None
    data_dir: Path | None = None
    cache_dir: Path | None = None
    warmups: Path | None = None
    executor: str = "local"
    """What runs cells, with its options: ``local``, ``ray[address=HOST:6379]``, ``submitit[partition=gpu]``."""
    checkpoint_every: int | None = None
    """Rounds between checkpoints of an unfinished cell, 0: none; None: by time."""
    cell_timeout: float | None = None
    """Seconds that a cell may take."""
    precision: Precision = "auto"
    steps: Steps = "auto"
    streams: int | None = None
    """Clients of a cell that train side by side; None: 4 on a GPU."""
    kernels: Kernels = "auto"

    def __post_init__(self) -> None:
        for name, kind in {"device": Device, "precision": Precision, "steps": Steps, "kernels": Kernels}.items():
            if (chosen := getattr(self, name)) not in get_args(kind):
                raise unknown(name, str(chosen), get_args(kind))
        for name, least in {"workers": 1, "checkpoint_every": 0, "cell_timeout": 1, "streams": 1}.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')}: {value} is too small; at least {least} is needed.")
        folders = {"data-dir": self.data_dir, "cache-dir": self.cache_dir, "warmups": self.warmups}
        for option, path in {"out": self.folder, **folders}.items():
            if path is not None and path.exists() and not path.is_dir():
                raise UserError(f"--{option}: {path} is a file; name a folder.")
        if self.data_dir is not None and not self.data_dir.exists():
            raise UserError(f"--data-dir: there is no folder {self.data_dir}.")

        _ = self.engine

    @cached_property
    def engine(self) -> Executor:
        """The executor."""
        return make_executor(self.executor)

    def environment(self, device: str, keep_models: Collection[str]) -> Environment:
        """What cells are told of it that run on ``device``. Raises UserError for what that cannot do."""
        precision = resolve_precision(self.precision, device)
        return Environment(
            device,
            self.data_dir,
            self.cache_dir,
            self.warmups or self.folder / "warmups",
            models(self.folder),
            frozenset(keep_models),
            checkpoint_dir=checkpoints(self.folder).absolute(),
            checkpoint_every=self.checkpoint_every,
            precision=precision,
            graphs=resolve_graphs(self.steps, device),
            streams=resolve_streams(self.streams, device),
            kernels=resolve_kernels(self.kernels, device, precision),
            prefix_dir=prefixes(self.folder).absolute(),
        )
