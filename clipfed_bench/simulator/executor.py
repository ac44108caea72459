"""Where clients train: lanes, each a model of its own bound to fixed memory, that take one client after the other.

On a CPU there is one lane and steps run as they are. On a GPU a step (forward, backward, SGD) is recorded as a CUDA
graph on the lane's fixed tensors, once for each size of batch, ragged last ones included, and replayed for every
client, round and cell of the process; lanes run on streams of their own. Both do the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.api import Loss
from clipfed_bench.models.flat import own_copy
from clipfed_bench.simulator.local import Hyper, Task, fused_sgd_step, sgd_step, train_batches
from clipfed_bench.simulator.shape_checks import fitting
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.compute import Compute, RecordedStep, kernel_search
from clipfed_bench.toolbox.images import Normalizer


class Executor:
    """Trains clients of one kind of model with one ``hyper``. It keeps nothing from one client to the next."""

    def __init__(self, model: Classifier, normalize: Normalizer, hyper: Hyper, compute: Compute | None = None) -> None:
        """``model`` gives the architecture, and is left alone."""
        self.compute = compute or Compute()
        self._lanes = [Lane(model, normalize, hyper, self.compute) for _ in range(self.compute.streams)]

    def train(self, tasks: Iterable[Task], params: Tensor, buffers: Tensor, deltas: Tensor, statistics: Tensor) -> None:
        """Train each of K ``tasks`` from ``params`` (P,) and running statistics ``buffers`` (Q,).

        On a CPU each task is asked for when its turn comes, and may be dropped afterwards.
        Row k of ``deltas`` (K, P) becomes trained minus given parameters, rounded to its dtype, and row k of
        ``statistics`` (K, Q) the running statistics.
        """
        if self.compute.on_gpu:
            tasks = [*tasks]  # made on the current stream, for which lanes wait only once
        for lane in self._lanes:
            lane.wait()
        for k, task in enumerate(tasks):
            self._lanes[k % len(self._lanes)].train(task, params, buffers, deltas[k], statistics[k])
        for lane in self._lanes:
            lane.join()


class Lane:
    """A model in fixed memory, with gradient and momentum, and the steps recorded on it."""

    def __init__(self, model: Classifier, normalize: Normalizer, hyper: Hyper, compute: Compute) -> None:
        self._flat = own_copy(model)
        self._own = self._flat.params, self._flat.buffers
        self._velocity = torch.zeros_like(self._flat.grad)
        self._views = [self._flat.views(flat) for flat in (self._flat.params, self._flat.grad, self._velocity)]
        self._normalize, self._hyper, self._compute = normalize, hyper, compute
        self._stream: torch.cuda.Stream | None = None
        if compute.on_gpu and compute.streams > 1:
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._record = compute.recorder()
        self._recorded: dict[tuple[int, bool], RecordedStep] = {}

    def wait(self) -> None:
        """Begin after what has been asked of the device so far."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())

    def join(self) -> None:
        """Let what is asked of the device from now on come after this lane's work."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)

    def train(self, task: Task, params: Tensor, buffers: Tensor, delta: Tensor, statistics: Tensor) -> None:
        """One client, from a fresh optimizer; results go to ``delta`` (P,) and ``statistics`` (Q,)."""
        flat, same_type = self._flat, delta.dtype == params.dtype
        # Recorded steps read and write the lane's own memory, and a GPU's kernels load 16 bytes at a time, which a row
        # of a matrix need not begin at a multiple of. Others work in place.
        place = (delta, statistics) if same_type and not (self._compute.graphs or self._compute.on_gpu) else self._own
        with torch.cuda.stream(self._stream):  # None: the current one
            self._bind(*place)
            flat.params.copy_(params)
            flat.buffers.copy_(buffers)
            self._velocity.zero_()
            flat.grad.zero_()
            flat.model.train()
            for pixels, labels in train_batches(task, self._normalize):
                self._step(pixels, labels, task)
            if same_type:
                torch.sub(flat.params, params, out=delta)
            else:
                delta.copy_(flat.params - params)
            statistics.copy_(flat.buffers)
            self._bind(*self._own)  # whoever made the rows may drop them

    def _bind(self, params: Tensor, buffers: Tensor) -> None:
        if self._flat.params is not params:
            self._flat.bind(params, buffers)

    def _step(self, pixels: Tensor, labels: Tensor, task: Task) -> None:
        rule, whole = task.rule, task.rule is None
        if self._compute.graphs and task.loss is None:
            self._replay(pixels, labels, whole)(pixels, labels)
        else:
            self._both(whole, pixels, labels, task.loss)
        if rule is not None:
            changed = rule(self._flat.grad, self._flat.params)
            self._flat.grad.copy_(fitting(changed, self._flat.grad.shape, "what the attack's gradient rule gives"))
            self._update()
        if task.after is not None:
            moved = task.after(self._flat.params)
            self._flat.params.copy_(fitting(moved, self._flat.params.shape, "what the attack's parameter rule gives"))

    def _both(self, whole: bool, pixels: Tensor, labels: Tensor, loss: Loss | None = None) -> None:
        if self._compute.on_gpu:
            self._both_on_gpu(whole, pixels, labels, loss)
            return
        self._backward(pixels, labels, loss)
        if whole:
            self._update()

    def _both_on_gpu(self, whole: bool, pixels: Tensor, labels: Tensor, loss: Loss | None) -> None:
        """The same in fewer kernels: gradients are left where they were computed, and SGD reads them there."""
        params, flat_grads, velocities = self._views
        model = list(self._flat.model.parameters())
        for p in model:
            p.grad = None
        self._backward(pixels, labels, loss)
        # What the loss does not depend on has the gradient that the flat vector holds between steps: zero.
        grads = [view if p.grad is None else p.grad for p, view in zip(model, flat_grads, strict=True)]
        if whole:
            fused_sgd_step(params, grads, velocities, self._hyper)
        else:
            torch._foreach_copy_(flat_grads, grads)
        for p in model:
            p.grad = None

    def _backward(self, pixels: Tensor, labels: Tensor, loss: Loss | None) -> None:
        model, images = self._flat.model, self._normalize(pixels)
        with self._compute.autocast():
            value = F.cross_entropy(model(images), labels) if loss is None else loss(model, images, labels)
        value.backward()  # type: ignore[no-untyped-call]

    def _update(self) -> None:
        sgd_step(self._flat.params, self._flat.grad, self._velocity, self._hyper)

    def _replay(self, pixels: Tensor, labels: Tensor, whole: bool) -> RecordedStep:
        """The step for this size of batch, ``whole`` or without the update, recorded when it is first asked for."""
        key = (len(labels), whole)
        if key not in self._recorded:
            batch = pixels.contiguous(memory_format=torch.channels_last), labels
            changed = (self._flat.params, self._flat.buffers, self._flat.grad, self._velocity)
            with kernel_search(len(labels) % self._hyper.batch_size == 0):  # ragged sizes are many, and used little
                self._recorded[key] = RecordedStep(self._record, partial(self._both, whole), batch, changed)
        return self._recorded[key]
