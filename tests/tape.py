"""Stands in for CUDA graphs where there is no GPU: what a step does is written down once and then repeated.

Like a graph, a tape repeats operations on the very tensors of the recording: no Python of the step runs again, values
that Python took from a tensor stay what they were, and so do addresses. What a capture forbids is an error here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

FORBIDDEN = {"_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "is_nonzero", "randperm"}
"""Operations whose outcome or shape depends on values on the device (a capture fails), or random ones."""


def place(tensor: torch.Tensor) -> int:
    """Where its memory begins, or on a GPU of the tests that of its values."""
    return getattr(tensor, "host", tensor).untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Records operations while it is entered; :meth:`replay` repeats them."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in FORBIDDEN:
            raise RuntimeError(f"{name} cannot be captured")
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, torch.Tensor) and place(old) != place(new):  # else a view, or changed in place
                    old.copy_(new)


class TapeRecorder:
    """A recorder as :class:`clipfed_bench.toolbox.compute.Compute` takes one; counts what it recorded."""

    def __init__(self, warmups: int = 2) -> None:
        self.warmups, self.recorded, self.replayed = warmups, 0, 0

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        for _ in range(self.warmups):
            step()
        tape = Tape()
        with tape:
            step()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return replay
