"""A GPU for machines without one: its tensors claim to be on ``cuda:0`` and keep their values on the CPU.

As on a GPU, operations on tensors of different devices are errors. Unlike a GPU it knows when the host waits: when it
reads a value (``float``, ``tolist``, ``.cpu()``), when a shape depends on values (``nonzero``, boolean masks), and when
a copy to the device blocks, since it is not asked not to or comes from memory that is not pinned. Results are those of
the CPU, so host decisions are real ones.

PyTorch keeps the wrappers on its meta device, on which the backward pass runs in the calling thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from clipfed_bench.core.sources import PROJECT

ROOT = Path(__file__).resolve().parents[1]
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

WAITS = {
    "_local_scalar_dense": "reads a value",
    "equal": "reads a value",
    "nonzero": "a shape depends on values",
    "masked_select": "a shape depends on values",
    "_unique2": "a shape depends on values",
    "unique_dim": "a shape depends on values",
    "unique_consecutive": "a shape depends on values",
    "bincount": "a shape depends on values",
    "_linalg_eigh": "asks whether it converged",
    "_linalg_svd": "asks whether it converged",
}
"""Operations for which CUDA waits, and why. ``repeat_interleave`` is another, with repeats in a tensor."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}

LOWER = {F.conv2d, F.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__}
FLOAT32 = {F.group_norm, F.cross_entropy, F.log_softmax}
"""What autocast on CUDA computes in the lower precision, and what in float32, among what our models do."""


class OnGpu(Tensor):
    """A tensor on the pretended GPU."""

    host: Tensor
    lower: torch.dtype | None = None
    """Precision of autocast, while it is on."""

    @staticmethod
    def __new__(cls, host: Tensor) -> OnGpu:
        options = {"dtype": host.dtype, "device": "meta", "storage_offset": host.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, host.shape, strides=host.stride(), **options)

    def __init__(self, host: Tensor) -> None:
        self.host = host

    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = is_meta = property(lambda self: False)  # type: ignore[assignment]

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        assert (value.shape, value.stride()) == (self.shape, self.stride())
        self.host = value.host  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: dict[int, Any]) -> OnGpu:
        twin = OnGpu(self.host.clone())
        twin.__dict__ |= {name: value for name, value in vars(self).items() if name != "host"}  # it may be a parameter
        twin.requires_grad_(self.requires_grad)
        twin.grad = deepcopy(self.grad, memo)
        memo[id(self)] = twin
        return twin

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, value: Any, **options: Any) -> Tensor:
        return torch.tensor(value, **{"device": GPU, "dtype": self.dtype} | options)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGpu({self.host})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if cls.lower is not None and (func in LOWER or func in FLOAT32):
            wanted = cls.lower if func in LOWER else torch.float32
            args, kwargs = tree_map_only(Tensor, lambda t: _cast(t, wanted), (args, kwargs))
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _index(args[1]), *args[2:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a tensor of the stand-in GPU, which is switched off")


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.dtype in (torch.float32, torch.bfloat16) else tensor


def _index(index: Any) -> Any:
    """Lists as tensors on the CPU, which is what they are before they are copied."""
    if isinstance(index, list):
        return torch.tensor(index)
    return tuple(map(_index, index)) if isinstance(index, tuple) else index


class FakeGpu(TorchDispatchMode):
    """The GPU, while it is entered by :func:`fake_gpu`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        """Why the host waited, and where: ``reads a value (clipfed_bench/api/defense.py: mean)``."""
        self._pinned: dict[int, Tensor] = {}

    def wait(self, why: str) -> None:
        """Note that the host waits here."""
        self.waits.append(f"{why} ({_caller()})")

    @contextmanager
    def waiting(self) -> Iterator[list[str]]:
        """The waits within the ``with`` block."""
        found: list[str] = []
        before = len(self.waits)
        yield found
        found += self.waits[before:]

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy in memory that the GPU can read by itself."""
        copy = tensor.clone()
        self._pinned[copy.untyped_storage().data_ptr()] = copy
        return copy

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, asked = func.overloadpacket.__name__, kwargs.get("device")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        to_gpu = any(isinstance(t, OnGpu) for t in tensors) if asked is None else torch.device(asked).type != "cpu"
        generator = kwargs.get("generator")
        if generator is not None and (generator._cdata in Generator.of_the_gpu) != to_gpu:
            raise RuntimeError(f"{name}: a generator and a tensor on different devices")
        if not to_gpu and not any(isinstance(t, OnGpu) for t in tensors):
            return func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            self._copy(name, args, kwargs, to_gpu)
        else:
            self._compute(func, name, args, tensors)
        hosts, options = tree_map_only(OnGpu, lambda t: t.host, (args, kwargs))
        if asked is not None:
            options["device"] = CPU
        out = func(*hosts, **options)
        if name == "copy_":
            return args[0]
        if to_gpu:
            out = tree_map_only(Tensor, lambda t: t if isinstance(t, OnGpu) else OnGpu(t), out)
        return return_and_correct_aliasing(func, args, kwargs, out) if to_gpu and asked is None else out

    def _copy(self, name: str, args: Any, kwargs: Any, to_gpu: bool) -> None:
        source = args[0] if name == "_to_copy" else args[1]
        to_gpu = to_gpu if name == "_to_copy" else isinstance(args[0], OnGpu)
        later = kwargs.get("non_blocking", False) if name == "_to_copy" else (*args, kwargs.get("non_blocking"))[2]
        if isinstance(source, OnGpu) and not to_gpu:
            self.wait("copies to the host")
        elif not isinstance(source, OnGpu) and not later:
            self.wait("copies to the device, blocking")
        elif not isinstance(source, OnGpu) and source.untyped_storage().data_ptr() not in self._pinned:
            self.wait("copies to the device from memory that is not pinned")

    def _compute(self, func: Any, name: str, args: Any, tensors: list[Tensor]) -> None:
        if name in WAITS:
            self.wait(WAITS[name])
        if name == "repeat_interleave" and any(isinstance(t, Tensor) for t in args[:2]):
            self.wait("a shape depends on values")
        if name in INDEXING:
            indices = [t for t in args[1] if t is not None]
            if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
                self.wait("a shape depends on values")
            elif not all(isinstance(t, OnGpu) for t in indices):
                self.wait("copies an index to the device")
            tensors = [t for t in tensors if not any(t is i for i in indices)]
        mixed = [t for t in tensors if not isinstance(t, OnGpu)]
        if any(t.dim() for t in mixed) or (mixed and torch.Tag.pointwise not in func.tags and name != "fill_"):
            raise RuntimeError(f"{func}: tensors on the CPU and on the GPU: {[tuple(t.shape) for t in mixed]}")
        if mixed and name in ("where", "index_put_", "_index_put_impl_"):
            self.wait("copies a value to the device")


def _caller() -> str:
    """The innermost function of the project that is at work, tests aside."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        ours = path.is_relative_to(ROOT) and path.parts[len(ROOT.parts)] in PROJECT
        if ours and path.name != "transfer.py":
            return f"{path.relative_to(ROOT).as_posix()}: {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "a test"


class Generator(torch.Generator):
    """In place of torch.Generator: one of the GPU draws on the CPU, and for tensors of the GPU alone."""

    of_the_gpu: ClassVar[dict[int, torch.Generator]] = {}

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        if torch.device(device).type != "cpu":
            cls.of_the_gpu[made._cdata] = made  # type: ignore[attr-defined]
        return made


class Event:
    """In place of torch.cuda.Event: no time passes on this GPU."""

    def __init__(self, enable_timing: bool = False) -> None:
        pass

    def record(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 0.0


class Stream:
    """In place of torch.cuda.Stream: everything is done in the order in which it is asked for."""

    def wait_stream(self, other: Stream) -> None:
        pass


@contextmanager
def autocast(
    device: str, dtype: torch.dtype | None = None, enabled: bool = True, cache_enabled: bool = True
) -> Iterator[None]:
    """In place of torch.autocast."""
    before, OnGpu.lower = OnGpu.lower, dtype if enabled else None
    try:
        yield
    finally:
        OnGpu.lower = before


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """A GPU within the ``with`` block. Its tensors can be made, used and read nowhere else."""
    gpu, lifted = FakeGpu(), torch._C._only_lift_cpu_tensors()
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, where there is no GPU
    patches = [
        mock.patch.object(torch, "autocast", autocast),
        mock.patch.object(torch.__future__, "get_overwrite_module_params_on_conversion", return_value=True),
        mock.patch.object(torch, "Generator", Generator),
        mock.patch.object(torch.cuda, "_lazy_init", return_value=None),
        mock.patch.object(torch.cuda, "Event", Event),
        mock.patch.object(torch.cuda, "Stream", Stream),
        mock.patch.object(torch.cuda, "current_stream", Stream),
        mock.patch.object(torch.cuda, "stream", nullcontext),
        mock.patch.object(torch.cuda, "synchronize", partial(gpu.wait, "waits for all of it")),
        mock.patch.object(torch.cuda, "get_device_name", return_value="stand-in"),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: gpu.pin(tensor)),
    ]
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=) copies as .to(device) does
    try:
        for patch in patches:
            patch.start()
        with gpu:
            yield gpu
    finally:
        for patch in patches:
            patch.stop()
        torch._C._set_only_lift_cpu_tensors(lifted)
        Generator.of_the_gpu.clear()
