"""Multi-Krum: the mean of the n - f updates with the best Krum scores.

Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent", NIPS 2017, section 4 and
6 ("m-Krum" with m = n - f): scores as in Krum, computed once; the plain mean of the m best, at least one.

Deviations: those of Krum. BatchNorm running statistics are averaged over the same clients.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines import krum


@dataclass(frozen=True)
class Config:
    malicious: float | None = None
    """Assumed share of malicious clients, 0 to below 0.5; f is that share of the round's clients, rounded up, and n - f
    updates are averaged. None: the share that the server is told to expect [ours]."""


class MultiKrum(krum.Krum):
    name = "multi-krum"

    def selected(self, clients: int, malicious: int) -> int:
        return max(clients - malicious, 1)
