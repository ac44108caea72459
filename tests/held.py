"""Bytes of the tensors that some code makes and holds at the same time, at their peak: the same in every run."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Held(TorchDispatchMode):
    """Counts while it is entered; tensors that were there before do not count, nor does what a kernel uses inside."""

    def __init__(self, *before: torch.Tensor) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._views: dict[int, int] = {t.untyped_storage().data_ptr(): 1 for t in before}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().nbytes() > 0:
                self._note(tensor)
        return out

    def _note(self, tensor: torch.Tensor) -> None:
        place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if place not in self._views:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._views[place] = self._views.get(place, 0) + 1
        weakref.finalize(tensor, self._drop, place, size)

    def _drop(self, place: int, size: int) -> None:
        self._views[place] -= 1
        if self._views[place] == 0:
            del self._views[place]
            self._now -= size
