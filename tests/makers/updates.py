"""Updates of a small model with a convolution, a normalization and a classifier, as a server receives them."""

import math

import numpy as np
import torch

from clipfed_bench.api import ClientUpdates, RoundContext, ServerContext, ServerModel

CLASSES, FEATURES = 10, 30
SHAPES = {"conv.weight": (12, 3, 3, 5), "norm.weight": (12,), "classifier.weight": (CLASSES, FEATURES)}
SHAPES |= {"classifier.bias": (CLASSES,)}
SIZE = sum(math.prod(shape) for shape in SHAPES.values())


class Layout(ServerModel):
    """Nothing but a layout."""

    def __init__(self):
        stops = np.cumsum([math.prod(shape) for shape in SHAPES.values()]).tolist()
        self.layers = {name: slice(a, b) for name, a, b in zip(SHAPES, [0, *stops], stops, strict=False)}
        self.shapes, self.image_shape = SHAPES, (3, 2, 2)

    def train(self, data, params, buffers, context, as_many=None):
        raise NotImplementedError

    def predict(self, params, buffers, pixels):
        raise NotImplementedError


LAYERS = Layout().layers
SERVER = ServerContext(CLASSES, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, model=Layout)
ROUND = RoundContext(round=1, seed=0)


def updates_of(deltas, clients=None, params=None, samples=None, buffers=None, global_buffers=None):
    """Of clients 0, 1, ... with a hundred images each, to a model of zeros, unless said otherwise."""
    deltas = torch.as_tensor(np.asarray(deltas), dtype=torch.float32)
    count, size = deltas.shape
    buffers = torch.as_tensor(np.arange(count * 2.0).reshape(count, 2) if buffers is None else buffers).float()
    return ClientUpdates(
        deltas,
        buffers,
        torch.as_tensor([100.0] * count if samples is None else samples, dtype=torch.float64),
        tuple(range(count) if clients is None else clients),
        torch.zeros(size) if params is None else torch.as_tensor(params, dtype=torch.float32),
        torch.zeros(buffers.shape[1]) if global_buffers is None else torch.as_tensor(global_buffers),
    )


def numpy(tensor):
    return tensor.double().numpy()


def random_deltas(seed, count=8, shared=1.0):
    draw = np.random.default_rng(seed)
    return shared * draw.normal(size=SIZE) + draw.normal(size=(count, SIZE)) * draw.uniform(0.5, 2, (count, 1))
