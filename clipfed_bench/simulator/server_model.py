"""The server's own model: what a defense trains or evaluates on the server, apart from the cell's model."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from math import ceil

import torch
from torch import Tensor

from clipfed_bench.api import RoundContext, ServerModel
from clipfed_bench.components.choice import Choice
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel, aligned
from clipfed_bench.simulator.evaluate import predict
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.toolbox.images import Dataset, Images, Normalizer, image_shape


class CellServerModel(ServerModel):
    """A second model like the cell's, on the device of the data, trained with the clients' ``hyper``."""

    def __init__(self, model: Choice | str, seed: int, data: Dataset, hyper: Hyper, executor: Executor) -> None:
        device = data.train.labels.device
        shape, kernels = image_shape(data.train.images), executor.compute.kernels
        self._flat = FlatModel(build_model(model, len(data.classes), seed, kernels, shape).to(device))
        self._hyper, self._executor = hyper, executor
        self._normalize = Normalizer(data.mean, data.std, device)
        self.layers, self.shapes = self._flat.layers, self._flat.shapes
        self.image_shape = shape

    def train(
        self, data: Images, params: Tensor, buffers: Tensor, context: RoundContext, as_many: float | None = None
    ) -> tuple[Tensor, Tensor]:
        size = self._hyper.batch_size
        steps = self._hyper.epochs * ceil((len(data) if as_many is None else as_many) / size)
        hyper = replace(self._hyper, epochs=ceil(steps / ceil(len(data) / size)))
        order = islice(batches(len(data), hyper, context.seed, context.round, 0, purpose="server"), steps)
        delta, own = torch.empty_like(params)[None], torch.empty_like(buffers)[None]
        self._executor.train([Task(data, order)], params, buffers, delta, own)
        return delta[0], own[0]

    def predict(self, params: Tensor, buffers: Tensor, pixels: Tensor) -> Tensor:
        self._flat.bind(aligned(params), aligned(buffers))
        return predict(self._flat.model, self._normalize(pixels))
