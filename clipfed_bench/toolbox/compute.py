"""How a training step runs on the device: operation by operation or as a CUDA graph, in float32 or bfloat16.

Neither is part of a cell: float32 on a CPU is one way, to the bit, and all others are within the tolerance that
docs/performance.md states. Each result says which it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clipfed_bench.core.work_counts import count

Step = Callable[[], None]
"""Reads and writes tensors that stay where they are; nothing that it does depends on a value on the device."""

Recorder = Callable[[Step], Step]


@dataclass(frozen=True)
class Compute:
    """How steps run. Raises ValueError for what the device does not do."""

    device: str = "cpu"
    precision: str = "float32"
    """``float32`` (TensorFloat-32 is off), or ``bfloat16``: autocast with float32 weights, gradients and statistics."""
    graphs: bool = False
    """Record each step as a CUDA graph and replay it."""
    streams: int = 1
    """Clients that train side by side on a GPU, each on a stream of its own."""
    record: Recorder | None = None
    """In place of a recorder of one's own: another's, to share its memory, or a test's, where there is no GPU."""
    kernels: str = "torch"
    """Of models that have their own on a CPU: ``torch`` or ``numba``."""

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is float32 or bfloat16, not {self.precision}")
        if self.graphs and not self.on_gpu and self.record is None:
            raise ValueError("graphs are for GPUs")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one."""
        return self.device.startswith("cuda")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision of a forward pass. Casts are not cached: a graph would go on reading the first ones."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, cache_enabled=False)

    def recorder(self) -> Recorder:
        """Makes of a step, which it runs a few times, what repeats it; without :attr:`graphs` that is the step itself.

        What one recorder made must not run side by side: it shares memory. Nothing in that memory outlives a step.
        """
        if not self.graphs:
            return lambda step: step
        return self.record or GraphRecorder()


def configure(compute: Compute) -> None:
    """Set this process up for ``compute``: float32 means float32."""
    if compute.on_gpu:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@contextlib.contextmanager
def kernel_search(wanted: bool) -> Iterator[None]:
    """Let cuDNN try its kernels on shapes that it has not met, where ``wanted``: for those that come often."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class RecordedStep:
    """A step on tensors of its own, which new ones of the same shapes are copied into.

    It is recorded when it is made, on copies of ``inputs``. ``changed`` is what that changes, and is put back.
    """

    def __init__(
        self, record: Recorder, step: Callable[..., None], inputs: Sequence[Tensor], changed: Sequence[Tensor]
    ) -> None:
        before = [tensor.detach().clone() for tensor in changed]
        self._inputs = [tensor.clone() for tensor in inputs]
        self._step = record(partial(step, *self._inputs))
        count("recorded step")
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)

    def __call__(self, *inputs: Tensor) -> None:
        for own, new in zip(self._inputs, inputs, strict=True):
            own.copy_(new)
        self._step()


class GraphRecorder:
    """Captures steps as CUDA graphs that share one memory pool."""

    WARMUPS = 3
    """Runs before the capture, in which libraries choose their kernels and allocate what they keep."""

    def __init__(self) -> None:
        # Warm-up and capture share one stream, so that gradients are accumulated where the backward pass runs.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(self.WARMUPS):
                step()
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            step()
        return graph.replay
