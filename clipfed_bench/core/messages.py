"""What passes between a cell and whoever runs it: plain picklable records, free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """Where a cell runs. Nothing here may change a number (on a GPU, in bfloat16, with other kernels: beyond the
    stated tolerance)."""

    device: str = "cpu"
    data_dir: Path | None = None
    cache_dir: Path | None = None
    warmup_dir: Path = field(default_factory=lambda: Path("results/runs/warmups"))
    model_dir: Path | None = None
    """Where final models are kept, as ``KEY.safetensors``."""
    keep_models: frozenset[str] = frozenset()
    """Keys of the cells whose final model is kept there."""
    checkpoint_dir: Path | None = None
    """Folder for what is unfinished, so that a killed process goes on from it; None: nothing is kept."""
    checkpoint_every: int | None = None
    """Rounds from one checkpoint to the next, 0: none are written; None: by time, about every two minutes."""
    precision: str = "float32"
    """Of training and evaluation; ``bfloat16`` keeps weights in float32."""
    graphs: bool = False
    """On a GPU, record each training step as a CUDA graph and replay it."""
    streams: int = 1
    """On a GPU, clients that train side by side."""
    kernels: str = "torch"
    """On a CPU in float32, of a model that has its own: ``torch`` or ``numba``, which differ in last bits."""
    prefix_dir: Path | None = None
    """Where rounds before the attack are kept for the cells that share them; None: each cell plays them itself."""


@dataclass(frozen=True)
class Progress:
    """A finished round or preparation step."""

    stage: str
    """``warmup``, ``teacher`` (its training), ``features`` (images that it looks at), ``prefix`` or ``round``; empty
    where there is no step, only something ``computed``, or a ``note`` that is not about this job alone
    (:mod:`clipfed_bench.core.notices`)."""
    done: int
    total: int
    mta: float | None = None
    """Latest evaluation, fraction."""
    asr: float | None = None
    note: str = ""
    """Something that people should know, such as a checkpoint that is broken."""
    dropped: int = 0
    """Updates so far that were not finite."""
    computed: Mapping[str, int] = field(default_factory=dict)
    """Shared work that was computed since the last report, by kind (:mod:`clipfed_bench.core.work_counts`)."""


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class CellResult:
    """The numbers of a finished cell. Shares are fractions, times are seconds."""

    history: list[dict[str, float]]
    """One row per evaluation."""
    final: dict[str, float]
    provenance: dict[str, str]
