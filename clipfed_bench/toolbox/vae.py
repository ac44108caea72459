"""A small variational autoencoder, whose reconstruction error says how unlike what it was trained on something is.

Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014. Two hidden layers on either side, values in [0, 1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clipfed_bench.toolbox.device import to_device


class Autoencoder:
    """Of (N, D) float32 rows in [0, 1], on any device. All that is random comes from one stream on the CPU.

    Trained with Adam at a learning rate of 0.001, in batches of 8, on the sum of squared errors plus the divergence of
    the latent distribution from the standard normal one.
    """

    BATCH = 8

    def __init__(self, inputs: int, hidden: int, latent: int, stream: torch.Generator, device: torch.device) -> None:
        self._stream = stream
        sizes = {"e1": (inputs, hidden), "e2": (hidden, hidden), "mean": (hidden, latent), "spread": (hidden, latent)}
        sizes |= {"d1": (latent, hidden), "d2": (hidden, hidden), "d3": (hidden, inputs)}
        self.layers = {name: self._layer(*size, device) for name, size in sizes.items()}

    def train(self, rows: Tensor, epochs: int) -> None:
        """``epochs`` over all rows, in an order drawn for each; what it has learned before is kept, but no momentum."""
        adam = torch.optim.Adam([p for layer in self.layers.values() for p in layer])
        for _ in range(epochs):
            for index in torch.split(torch.randperm(len(rows), generator=self._stream), self.BATCH):
                batch = rows[to_device(index, rows.device)]
                adam.zero_grad()
                self.loss(batch, self._noise(batch)).backward()  # type: ignore[no-untyped-call]
                adam.step()

    @torch.no_grad()
    def errors(self, rows: Tensor, draws: int = 10) -> Tensor:
        """(N,) float32: sum of squared errors of each row, mean over ``draws`` of its latent vector."""
        mean, spread = self.encode(rows)
        total = torch.zeros(len(rows), device=rows.device)
        for _ in range(draws):
            total += (self.decode(mean + self._noise(rows) * (spread / 2).exp()) - rows).square().sum(dim=1)
        return total / draws

    def loss(self, rows: Tensor, noise: Tensor) -> Tensor:
        """Squared errors plus divergence, summed over (N, D) ``rows``, with (N, latent) standard normal ``noise``."""
        mean, spread = self.encode(rows)
        found = self.decode(mean + noise * (spread / 2).exp())
        return (found - rows).square().sum() - (1 + spread - mean.square() - spread.exp()).sum() / 2

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(N, latent) means and logarithms of variances, the latter above 0."""
        inner = F.relu(F.linear(F.relu(F.linear(rows, *self.layers["e1"])), *self.layers["e2"]))
        return F.linear(inner, *self.layers["mean"]), F.softplus(F.linear(inner, *self.layers["spread"]))

    def decode(self, latent: Tensor) -> Tensor:
        """(N, D) in (0, 1) from (N, latent)."""
        inner = F.relu(F.linear(F.relu(F.linear(latent, *self.layers["d1"])), *self.layers["d2"]))
        return torch.sigmoid(F.linear(inner, *self.layers["d3"]))

    def _noise(self, rows: Tensor) -> Tensor:
        latent = len(self.layers["mean"][1])
        return to_device(torch.randn(len(rows), latent, generator=self._stream), rows.device)

    def _layer(self, inputs: int, outputs: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Weight by He et al., bias as torch's."""
        weight = torch.randn(outputs, inputs, generator=self._stream) * math.sqrt(2 / inputs)
        bias = (2 * torch.rand(outputs, generator=self._stream) - 1) / math.sqrt(inputs)
        return to_device(weight, device).requires_grad_(), to_device(bias, device).requires_grad_()
