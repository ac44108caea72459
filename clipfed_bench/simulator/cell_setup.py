"""A cell's set-up: data, clients, attack, server and defense of one cell in one environment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext
from clipfed_bench.components.registry import create_attack, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.messages import Environment, Report
from clipfed_bench.core.sources import first
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator import shared
from clipfed_bench.simulator.digests import Digests
from clipfed_bench.simulator.evaluate import TestSets, evaluate, make_test_sets
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.simulator.manner import kernels
from clipfed_bench.simulator.sampling import malicious_clients
from clipfed_bench.simulator.server_model import CellServerModel
from clipfed_bench.simulator.shots import Shots, shots
from clipfed_bench.toolbox.compute import Compute
from clipfed_bench.toolbox.images import Dataset, Images, Normalizer, ServerData, Shares, image_shape

if TYPE_CHECKING:
    from clipfed_bench.teacher.teacher import Teacher


class CellSetup:
    """What a cell is made of, each part when it is first asked for; what cells can share comes from :mod:`.shared`.

    No part knows the set-up that it is in, but for the defense, which is therefore not kept here: memory is freed as
    soon as nobody uses it.
    """

    def __init__(self, spec: CellSpec, env: Environment, report: Report | None = None) -> None:
        """``report`` is told how the training of a teacher goes."""
        self.spec, self.env = spec, env
        self._report = report

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of what the cell is computed from, as this process has it (:mod:`clipfed_bench.runs.digests`)."""
        return Digests(self.env.data_dir, first, shared.pixels).of(self.spec)

    @cached_property
    def data(self) -> Dataset:
        """The data set on the device, without images that the server holds out."""
        spec, env = self.spec, self.env
        held_out = spec.warmup["server_data"]
        return shared.dataset(spec.dataset, spec.imbalance_factor, spec.evaluate, env.data_dir, held_out, env.device)

    @cached_property
    def compute(self) -> Compute:
        """How steps run."""
        env = self.env
        return Compute(env.device, env.precision, env.graphs, env.streams, kernels=kernels(self.spec, env))

    @cached_property
    def hyper(self) -> Hyper:
        """How clients train."""
        return Hyper.of(self.spec)

    @cached_property
    def executor(self) -> Executor:
        """Where clients train."""
        data = self.data
        task = len(data.classes), image_shape(data.train.images)
        return shared.executor(self.spec.model, *task, data.mean, data.std, self.hyper, self.compute)

    @cached_property
    def federation(self) -> Federation:
        """The clients with their shares of the data."""
        spec, data = self.spec, self.data
        labels, writers = (_content(values) for values in (data.train.labels, data.train.writers))
        given = spec.clients, spec.scheme, spec.min_samples, spec.seed
        parts = shared.shares(labels, writers, len(data.classes), *given)
        device = data.train.labels.device
        clients: Sequence[Images] = Shares(data.train, [part.to(device) for part in parts])
        if device.type != "cpu":  # where there is memory, and copies would be made in each round
            clients = [*clients]
        normalize = Normalizer(data.mean, data.std, device)
        return Federation(spec, clients, malicious_clients(spec), normalize, self.hyper, self.executor)

    @cached_property
    def attack(self) -> Attack:
        """The attack, whatever the rounds in which it is on."""
        spec, shape = self.spec, image_shape(self.data.train.images)
        context = AttackContext(spec.target, len(self.data.classes), shape, spec.poison_ratio, spec.seed)
        return create_attack(spec.attack, context)

    @cached_property
    def shots(self) -> Shots | None:
        """Head, middle and tail of the data set, if it has a long tail."""
        data = self.data
        return shots(data.train.labels.cpu(), data.test.labels.cpu(), len(data.classes))

    @cached_property
    def test_sets(self) -> TestSets:
        """Clean and triggered test images, triggered as the attack does it before its first round."""
        return self.new_test_sets()

    def new_test_sets(self) -> TestSets:
        """The same, triggered as the attack does it now."""
        return make_test_sets(self.data.test, self.attack, self.federation.normalize, self.shots)

    @cached_property
    def server_data(self) -> ServerData:
        """The server's data set, on the CPU; only where the defense needs one."""
        return shared.server_data(self.spec, self.env, self.spec.server_per_class)

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher; only where the defense needs one."""
        return shared.teacher(self.spec, self.env, self._report)

    @cached_property
    def server_model(self) -> CellServerModel:
        """The server's own model."""
        return CellServerModel(self.spec.model, self.spec.seed, self.data, self.hyper, self.executor)

    def server_context(self) -> ServerContext:
        """What the defense is given before round 1."""
        data, component = self.data, self.spec.defense.component
        return ServerContext(
            num_classes=len(data.classes),
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            seed=self.spec.seed,
            assumed_malicious=self.spec.malicious,
            device=torch.device(self.env.device),
            server_data=(lambda: self.server_data) if component.needs_server_data else None,
            teacher=(lambda: self.teacher) if component.needs_teacher else None,
            model=lambda: self.server_model,
            compute=self.compute,
        )

    def new_defense(self) -> Defense:
        """The defense, prepared, before its first round."""
        defense = create_defense(self.spec.defense, self.server_context())
        defense.prepare()
        return defense

    def new_model(self) -> FlatModel:
        """The initial global model, on the device."""
        spec, shape = self.spec, image_shape(self.data.train.images)
        model = build_model(spec.model, len(self.data.classes), spec.seed, self.compute.kernels, shape)
        return FlatModel(model.to(self.env.device))

    def evaluate(self, model: nn.Module, sets: TestSets) -> dict[str, float]:
        """As :func:`.evaluate.evaluate`, in the environment's precision."""
        with self.compute.autocast():
            return evaluate(model, sets)


def _content(values: Tensor | None) -> bytes | None:
    """Of int64 ``values``, on any device."""
    return None if values is None else values.cpu().numpy().tobytes()
