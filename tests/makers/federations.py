"""Federations of four clients with eight images each, two of them malicious, and a small network."""

from __future__ import annotations

from typing import Any

import torch

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.simulator.sampling import malicious_clients
from clipfed_bench.toolbox.images import Normalizer
from makers.images import random_images


def small_federation(**settings: Any) -> tuple[Federation, FlatModel]:
    """Of a cell with ``settings``, and its global model."""
    spec = CellSpec(
        dataset="digits", model="cnn", warmup_rounds=0, clients=4, clients_per_round=4, malicious=0.5, **settings
    )
    clients = [random_images(8, client, torch.arange(8)) for client in range(4)]
    hyper = Hyper(spec.local_epochs, spec.batch_size, spec.lr, spec.momentum, 0.0)
    normalize = Normalizer((0.5,) * 3, (0.25,) * 3)
    executor = Executor(build_model("cnn", 10, 0), normalize, hyper)
    federation = Federation(spec, clients, malicious_clients(spec), normalize, hyper, executor)
    return federation, FlatModel(build_model("cnn", 10, 0))
