"""What the machine can do at best, and the floor that it sets for the simulator's work.

Two ceilings are measured: the rate of a large matrix product (FLOP/s, 2 n³ for n × n), and the bandwidth of a copy
that is too large for caches (bytes read plus bytes written a second). Work that needs F FLOPs and moves B bytes
takes at least max(F / rate, B / bandwidth): the roofline of Williams et al., CACM 2009. It is a floor for an
implementation that multiplies no faster than the matrix product and keeps no activations in caches; small models on a
CPU do the latter, and are bounded by their FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Clock, take_turns
from clipfed_bench.data.catalog import info
from clipfed_bench.models.build import build_model
from clipfed_bench.toolbox.compute import Compute, configure

FLOAT = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Load:
    """An amount of work."""

    flops: float
    bytes: dict[str, float]
    """Precision of activations -> bytes that are moved."""

    def __add__(self, other: Load) -> Load:
        return Load(self.flops + other.flops, {k: v + other.bytes[k] for k, v in self.bytes.items()})

    def times(self, count: float) -> Load:
        """``count`` times as much."""
        return Load(self.flops * count, {k: v * count for k, v in self.bytes.items()})


@dataclass(frozen=True)
class Ceilings:
    """Rates of one device."""

    flops: dict[str, float]
    """Precision -> FLOP/s of a matrix product."""
    bandwidth: float
    """Bytes read plus bytes written a second."""
    kernels: dict[str, float] = field(default_factory=dict)
    """On a CPU: whose matrix product in float32 -> FLOP/s; the best of them is the ceiling."""

    def seconds(self, load: Load, precision: str = "float32") -> float:
        """The least that ``load`` takes."""
        return max(load.flops / self.flops[precision], load.bytes[precision] / self.bandwidth)


WIDTHS = {"float32": FLOAT, "bfloat16": 2}
"""Bytes of an activation."""


@dataclass(frozen=True)
class Work:
    """What training and evaluating a model takes."""

    params: int
    """P."""
    forward_flops: float
    """Of one image's forward pass: convolutions and matrix products, 2 for a multiply-add."""
    train_flops: float
    """Of one image's forward and backward pass."""
    activations: float = field(metadata={"unit": "values an image"})
    """Outputs of all layers with weights (convolutions, normalizations, linear layers)."""

    def step(self, images: float) -> Load:
        """A training step on ``images``.

        FLOPs: ``images`` · ``train_flops``. Bytes: each activation is written and read in the forward pass, read again
        in the backward pass, and its gradient is written and read: 5 passes of 4 (bfloat16: 2) bytes. Each parameter is
        read in the forward and the backward pass and its gradient written; SGD reads parameter, gradient and velocity
        and writes parameter and velocity: 8 passes of 4 bytes.
        """
        moved = {name: 5 * width * self.activations * images for name, width in WIDTHS.items()}
        return Load(images * self.train_flops, {k: v + 8 * FLOAT * self.params for k, v in moved.items()})

    def evaluation(self, images: float) -> Load:
        """A forward pass over ``images``: each activation is written and read."""
        moved = {name: 2 * width * self.activations * images for name, width in WIDTHS.items()}
        return Load(images * self.forward_flops, moved)

    def aggregation(self, clients: int) -> Load:
        """A mean of ``clients`` updates: 2 K P FLOPs; K P values read and P written, 4 bytes each."""
        moved = float(FLOAT * (clients + 1) * self.params)
        return Load(2.0 * clients * self.params, dict.fromkeys(WIDTHS, moved))


def count_work(model_name: str, dataset: str = "cifar10") -> Work:
    """FLOPs and activations of a model for images of ``dataset``, counted on shapes alone."""
    like = info(dataset)
    model = build_model(model_name, len(like.classes), 0, image_shape=like.image_shape).to("meta").train()
    sizes: list[int] = []
    for module in model.modules():
        if next(module.children(), None) is None and next(module.parameters(), None) is not None:
            module.register_forward_hook(partial(_note, sizes))
    images = 2  # BatchNorm wants more than one
    batch = torch.empty(images, *like.image_shape, device="meta")
    with FlopCounterMode(display=False) as forward:
        result = model(batch)
    with FlopCounterMode(display=False) as backward:
        result.sum().backward()
    total = forward.get_total_flops()
    return Work(
        sum(p.numel() for p in model.parameters()),
        total / images,
        (total + backward.get_total_flops()) / images,
        sum(sizes) / images,
    )


def _note(sizes: list[int], module: nn.Module, inputs: object, output: torch.Tensor) -> None:
    sizes.append(output.numel())


def measure_ceilings(device: str, quick: bool, repetitions: int = 7) -> Ceilings:
    """The ceilings of ``device``, from the fastest of ``repetitions``: what it can do, not what it usually does.

    TensorFloat-32 is off, as it is in training. In float32 on a CPU the ceiling is the best that is at hand: of torch's
    own product (MKL where it has it, which is slow on AMD), of oneDNN's, which torch asks for convolutions, and of
    OpenBLAS's in SciPy, which multiplies long updates (:mod:`clipfed_bench.toolbox.gram`).
    """
    cuda = device.startswith("cuda")
    configure(Compute(device))
    size = 8192 if cuda else 512 if quick else 1024
    values = (2**28 if cuda else 2**24 if quick else 2**26) // 2
    runs: dict[str, Callable[[], object]] = {}
    for precision in WIDTHS:
        left = torch.randn(size, size, device=device).to(getattr(torch, precision))
        runs[precision] = partial(torch.mm, left, left.T.contiguous(), out=torch.empty_like(left))
    runs |= {} if cuda else _cpu_kernels(size)
    source = torch.ones(values, device=device)
    runs["copy"] = partial(torch.empty_like(source).copy_, source)
    seconds = take_turns(runs, repetitions, Clock(device))
    best = {name: min(times) for name, times in seconds.items()}
    rates = {name: 2 * size**3 / best[name] for name in best if name != "copy"}
    kernels = {} if cuda else {name: rates[name] for name in rates if name not in WIDTHS} | {"torch": rates["float32"]}
    flops = {name: rates[name] for name in WIDTHS} | ({} if cuda else {"float32": max(kernels.values())})
    return Ceilings(flops, 2 * FLOAT * values / best["copy"], kernels)


def _cpu_kernels(size: int) -> dict[str, Callable[[], object]]:
    """The square of a (size, size) float32 matrix by other libraries than the one that torch multiplies with."""
    from scipy.linalg.blas import sgemm

    left = torch.randn(size, size)
    right, out = left.T.contiguous(), np.empty((size, size), np.float32, order="F")
    # A convolution with kernels of one pixel over a column of pixels is a product; both lie in memory as matrices do.
    column, kernels = left.view(1, size, 1, size).permute(0, 3, 1, 2), right.view(size, size, 1, 1)
    return {
        "oneDNN": partial(torch.nn.functional.conv2d, column, kernels),
        "OpenBLAS": partial(sgemm, 1.0, right.numpy().T, right.numpy().T, 0.0, out, overwrite_c=1),
    }
