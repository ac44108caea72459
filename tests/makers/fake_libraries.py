"""Packages called byzfl and flwr with a few rules each, of the form of the real ones; those are in no test venv."""

import importlib
import sys
from contextlib import contextmanager

from clipfed_bench.components import families

AGGREGATORS = """
import torch

class Average(object):
    def __init__(self):
        pass
    def __call__(self, vectors):
        return vectors.mean(dim=0)

class TrMean(Average):
    def __init__(self, f=0, scale=1.5, m=None):
        if f < 0:
            raise ValueError("f must be a non-negative integer")
        self.f, self.scale, self.m = f, scale, m
    def __call__(self, vectors):
        if 2 * self.f >= len(vectors):
            raise ValueError("Cannot tolerate 2f")
        self.m = self.scale * vectors.sort(dim=0).values[self.f : len(vectors) - self.f].mean(dim=0)
        return self.m

class CAF(object):
    def __init__(self, f=0):
        self.f = f
    def __call__(self, vectors):
        return torch.randn(vectors.shape[1]) if self.f else None

class _Helper(Average):
    pass

class Needy(Average):
    def __init__(self, rule):
        pass
"""
PREAGGREGATORS = """
class Clipping(object):
    def __init__(self, c=2.0):
        self.c = c
    def __call__(self, vectors):
        vectors.clamp_(-self.c, self.c)
        return vectors

class NNM(object):
    def __init__(self, f=0):
        self.f = f
    def __call__(self, vectors):
        return vectors[self.f :] + 1
"""
STRATEGIES = """
from collections.abc import Callable
from flwr.app import ArrayRecord

class FedAvg:
    def __init__(self, fraction_train: float = 1.0, weighted_by_key: str = "num-examples",
                 train_metrics_aggr_fn: Callable[[list], dict] | None = None) -> None:
        self.fraction_train = fraction_train
    def configure_train(self, server_round, arrays, config, grid):
        assert self.fraction_train == 0
        return []
    def aggregate_train(self, server_round, replies):
        assert not any(reply.has_error() for reply in replies)
        contents = [reply.content for reply in replies]
        weights = [content["metrics"]["num-examples"] for content in contents]
        models = [content["arrays"].to_numpy_ndarrays()[0] for content in contents]
        return ArrayRecord([sum(w * m for w, m in zip(weights, models)) / sum(weights)]), {}

class FedAvgM(FedAvg):
    def __init__(self, *, fraction_train: float = 1.0, server_momentum: float = 0.0, rate: float) -> None:
        super().__init__(fraction_train)
        self.server_momentum, self.rate = server_momentum, rate
        self.current_arrays = self.momentum_vector = self.m_t = None
    def configure_train(self, server_round, arrays, config, grid):
        if self.current_arrays is None:
            self.current_arrays = arrays
        return super().configure_train(server_round, arrays, config, grid)
    def aggregate_train(self, server_round, replies):
        mean = super().aggregate_train(server_round, replies)[0].to_numpy_ndarrays()[0]
        old = self.current_arrays.to_numpy_ndarrays()[0]
        before = 0 * old if self.momentum_vector is None else self.momentum_vector[0]
        self.momentum_vector = [self.server_momentum * before + mean - old]
        self.m_t = {"0": self.momentum_vector[0]}
        self.current_arrays = ArrayRecord([old + self.rate * self.momentum_vector[0]])
        return self.current_arrays, {}

class Bulyan(FedAvg):
    def aggregate_train(self, server_round, replies):
        return None, None

class FedProx(FedAvg):
    pass

class Hidden(FedAvg):
    pass
"""
APP = """
class ArrayRecord:
    def __init__(self, arrays):
        self.arrays = [array.copy() for array in arrays]
    def to_numpy_ndarrays(self):
        return self.arrays
class MetricRecord(dict): pass
class RecordDict(dict): pass
class ConfigRecord(dict): pass
"""
EXPORTED = "from .all import *\n__all__ = ['Bulyan', 'FedAvg', 'FedAvgM', 'FedProx', 'Result']\n"
FILES = {
    "byzfl/aggregators/aggregators.py": AGGREGATORS,
    "byzfl/aggregators/preaggregators.py": PREAGGREGATORS,
    "flwr/app.py": APP,
    "flwr/serverapp/strategy/all.py": STRATEGIES,
    "flwr/serverapp/strategy/__init__.py": EXPORTED,
}


@contextmanager
def importable(folder, names=("byzfl", "flwr")):
    """Those of the packages that are named, and no real ones, can be imported."""
    for path, source in FILES.items():
        if path.split("/")[0] in names:
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
    sys.path.insert(0, str(folder))
    _forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _forget()


def _forget():
    importlib.invalidate_caches()
    families.classes.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] in ("byzfl", "flwr")]:
        del sys.modules[name]
