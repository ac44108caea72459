"""What is trained on: made-up images in a data set's shapes, so that no file is needed, in a cell's own objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice

import torch
from torch import Tensor

from benchmarks.scale import Scale
from clipfed_bench.api import Attack, AttackContext, Defense, ServerContext
from clipfed_bench.components.registry import choose, create_attack, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.data.catalog import info
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper
from clipfed_bench.simulator.sampling import malicious_clients
from clipfed_bench.simulator.server_model import CellServerModel
from clipfed_bench.teacher.teacher import Teacher
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute, configure
from clipfed_bench.toolbox.images import Dataset, Images, Normalizer, ServerData, image_shape
from clipfed_bench.toolbox.rng import generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WIDTH = 768
"""Of the made-up teacher's features, as ViT-L/14's."""


def made_up(count: int, device: str, purpose: str, dataset: str = "cifar10") -> Images:
    """``count`` random images (N, C, H, W) uint8 in channels_last, as a cell holds them, with random labels."""
    stream, like = generator(0, f"bench-{purpose}"), info(dataset)
    pixels = torch.randint(0, 256, (count, *like.image_shape), generator=stream, dtype=torch.uint8)
    labels = torch.randint(0, len(like.classes), (count,), generator=stream)
    return Images(pixels.to(device).contiguous(memory_format=torch.channels_last), labels.to(device))


@dataclass(frozen=True)
class World:
    """A cell's data and clients, of whom as many take part in a round as there are."""

    spec: CellSpec
    data: Dataset
    federation: Federation
    device: str
    executors: dict[Compute, Executor] = field(default_factory=dict)
    """Those that :meth:`executor` has made."""

    def executor(self, compute: Compute) -> Executor:
        """Where clients train as ``compute`` says; made once, so that what is recorded is replayed."""
        if compute not in self.executors:
            configure(compute)
            normalize, hyper = self.federation.normalize, self.federation.hyper
            self.executors[compute] = Executor(self.model(compute.kernels).model, normalize, hyper, compute)
        return self.executors[compute]

    @property
    def everybody(self) -> tuple[int, ...]:
        """Ids of all clients."""
        return tuple(range(len(self.federation.clients)))

    def classifier(self, kernels: str = "torch") -> Classifier:
        """A fresh model; the same each time."""
        shape = image_shape(self.data.train.images)
        return build_model(self.spec.model, len(self.data.classes), 0, kernels, shape).to(self.device)

    def model(self, kernels: str = "torch") -> FlatModel:
        """The same, flat."""
        return FlatModel(self.classifier(kernels))

    def attack(self) -> Attack:
        """BadNets."""
        context = AttackContext(self.spec.target, len(self.data.classes), image_shape(self.data.train.images))
        return create_attack(self.spec.attack, context)

    def defense(self, name: str, server: ServerContext) -> Defense:
        """The defense with its default options, prepared."""
        defense = create_defense(choose("defense", name), server)
        defense.prepare()
        return defense

    def server(self, images: int, compute: Compute) -> ServerContext:
        """A server that holds ``images`` made-up images and a teacher with made-up features."""
        drawn = made_up(images, "cpu", "server", self.spec.dataset)
        held = ServerData(drawn, ("",) * images, "made up", f"bench-{images}")
        teacher = MadeUpTeacher(len(self.data.classes), self.device)
        hyper, executor = self.federation.hyper, self.executor(compute)
        return ServerContext(
            num_classes=len(self.data.classes),
            classes=self.data.classes,
            mean=self.data.mean,
            std=self.data.std,
            assumed_malicious=self.spec.malicious,
            device=torch.device(self.device),
            server_data=lambda: held,
            teacher=lambda: teacher,
            model=cache(lambda: CellServerModel(self.spec.model, 0, self.data, hyper, executor)),  # once, as in a cell
            compute=compute,
        )


def make_world(
    model: str,
    device: str,
    clients: int,
    images: int,
    batch_size: int,
    epochs: int,
    tests: int,
    dataset: str = "cifar10",
) -> World:
    """``clients`` with ``images`` each, and ``tests`` test images, in the shape and the classes of ``dataset``."""
    spec = CellSpec(
        dataset=dataset,
        partition=choose("partition", "iid"),
        clients=clients,
        clients_per_round=clients,
        malicious=max(0.2, 1 / clients),  # somebody is
        model=choose("model", model),
        batch_size=batch_size,
        local_epochs=epochs,
        lr=0.01,
    )
    train, test = made_up(clients * images, device, "train", dataset), made_up(tests, device, "test", dataset)
    mean, std = (tuple(islice(cycle(values), train.images.shape[1])) for values in (MEAN, STD))
    data = Dataset("made-up", info(dataset).classes, train, test, mean, std, "made up")
    shares = torch.split(torch.arange(clients * images, device=device), images)
    hyper = Hyper.of(spec)
    holdings = [train.take(share) for share in shares]
    normalize, compute = Normalizer(mean, std, device), Compute(device)
    architecture = build_model(spec.model, len(data.classes), 0, image_shape=image_shape(train.images)).to(device)
    executor = Executor(architecture, normalize, hyper, compute)
    federation = Federation(spec, holdings, malicious_clients(spec), normalize, hyper, executor)
    return World(spec, data, federation, device, {compute: executor})


def round_world(model: str, device: str, scale: Scale) -> World:
    """The world of a whole round."""
    sizes = scale.clients, scale.client_images, 64, scale.epochs, scale.test_images
    return make_world(model, device, *sizes, scale.dataset)


class MadeUpTeacher(Teacher):
    """Random features in the place of a teacher's: what they cost is no part of a round, being cached."""

    def __init__(self, classes: int, device: str) -> None:
        self.device = torch.device(device)
        self.logit_scale = 100.0
        self.text_prototypes = self._features(classes)

    def image_features(self, images: Tensor, *, cached: bool = True, progress: object = None) -> Tensor:
        return self._features(len(images))

    def _features(self, count: int) -> Tensor:
        drawn = torch.randn(count, WIDTH, generator=generator(0, "bench-teacher", count))
        return torch.nn.functional.normalize(drawn, dim=1).to(self.device)
