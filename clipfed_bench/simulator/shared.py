"""What cells of one process share: data sets, server data, teachers. Each is made once and kept while it is in use."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clipfed_bench.components.choice import Choice
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Progress, Report
from clipfed_bench.core.work_counts import counted
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.partition import partition
from clipfed_bench.data.server_set.load import load_server_data, reserve_holdout
from clipfed_bench.data.validation import on_validation
from clipfed_bench.models.build import build_model
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.teacher.spec import parse_teacher_spec
from clipfed_bench.toolbox.compute import Compute, configure
from clipfed_bench.toolbox.images import Dataset, Images, Normalizer, ServerData

if TYPE_CHECKING:
    from clipfed_bench.teacher.teacher import Teacher


@lru_cache(maxsize=2)
@counted("data set")
def _original(name: str, imbalance_factor: float | None, evaluate: str, data_dir: Path | None) -> Dataset:
    data = load_dataset(name, data_dir, imbalance_factor)
    return on_validation(data) if evaluate == "validation" else data


@lru_cache(maxsize=2)
def dataset(
    name: str, imbalance_factor: float | None, evaluate: str, data_dir: Path | None, held_out: str | None, device: str
) -> Dataset:
    """The data set without the server's held-out images, on the device.

    ``evaluate`` validation: images kept from training are its test images.
    """
    data = _original(name, imbalance_factor, evaluate, data_dir)
    if held_out is not None:
        data = reserve_holdout(data, held_out)
    train, test = (
        Images(s.images.to(device).contiguous(memory_format=torch.channels_last), s.labels.to(device), s.writers)
        for s in (data.train, data.test)
    )
    return Dataset(data.name, data.classes, train, test, data.mean, data.std, data.source)


@lru_cache(maxsize=2)
def executor(
    model: Choice,
    classes: int,
    shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    hyper: Hyper,
    compute: Compute,
) -> Executor:
    """Where clients train. Cells that are alike in how they train replay the same steps."""
    configure(compute)
    architecture = build_model(model, classes, 0, compute.kernels, shape).to(compute.device)
    return Executor(architecture, Normalizer(mean, std, compute.device), hyper, compute)


@lru_cache(maxsize=64)
@counted("partition")
def shares(
    labels: bytes, writers: bytes | None, classes: int, clients: int, scheme: Choice, min_samples: int, seed: int
) -> list[Tensor]:
    """As :func:`partition`; labels and writers are int64, by content, so that equal data sets share it."""
    found = None if writers is None else np.frombuffer(writers, dtype=np.int64)
    array = np.frombuffer(labels, dtype=np.int64)
    return partition(array, classes, clients, scheme, min_samples=min_samples, seed=seed, writers=found)


@lru_cache(maxsize=2)
@counted("server set")
def _server_data(
    name: str,
    imbalance_factor: float | None,
    evaluate: str,
    data_dir: Path | None,
    server_data: str,
    per_class: int | None,
) -> ServerData:
    return load_server_data(server_data, _original(name, imbalance_factor, evaluate, data_dir), data_dir, per_class)


def _task(spec: CellSpec, data_dir: Path | None) -> tuple[str, float | None, str, Path | None]:
    """What of a cell, and where, makes its original data set."""
    return spec.dataset, spec.imbalance_factor, spec.evaluate, data_dir


def server_data(spec: CellSpec, env: Environment, per_class: int | None) -> ServerData:
    """The server's data set, on the CPU."""
    assert spec.server_data is not None
    return _server_data(*_task(spec, env.data_dir), spec.server_data, per_class)


def pixels(spec: CellSpec, data_dir: Path | None) -> dict[str, str]:
    """Digests of the images that the cell's data set and server data come to, by their names."""
    data = _original(*_task(spec, data_dir))
    found = {"data": data.source}
    if spec.server_data is not None:
        found["server_data"] = _server_data(
            *_task(spec, data_dir), spec.server_data, spec.server_per_class
        ).content_hash
    return found


def tell_pixels(spec: str, data_dir: str) -> None:
    """Print :func:`pixels`; all in JSON."""
    print(json.dumps(pixels(CellSpec(**json.loads(spec)), Path(data_dir) if data_dir else None)))


_teachers: dict[tuple[object, ...], Teacher] = {}


def teacher(spec: CellSpec, env: Environment, report: Report | None = None) -> Teacher:
    """The teacher. One that is trained here is trained on all of the server data, whatever ``server_per_class`` is."""
    from clipfed_bench.teacher.loading import load_teacher  # slow to import, and few defenses need it

    data = _original(*_task(spec, env.data_dir))
    key = (spec.dataset, spec.imbalance_factor, spec.evaluate, spec.teacher, spec.templates, spec.server_data, env)
    if key not in _teachers:
        _teachers.clear()
        assert spec.teacher is not None
        _teachers[key] = load_teacher(
            spec.teacher,
            data.classes,
            templates=spec.templates or "simple",
            server_data=server_data(spec, env, None) if parse_teacher_spec(spec.teacher).trained else None,
            device=env.device,
            cache_dir=env.cache_dir,
            progress=_steps("teacher", report),
        )
    _teachers[key].progress = _steps("features", report)
    return _teachers[key]


def _steps(stage: str, report: Report | None) -> Callable[[int, int], None] | None:
    """Tells ``report`` how many steps of how many are done."""
    return (lambda done, total: report(Progress(stage, done, total))) if report else None
