"""Random rounds of updates, by seed: ordinary ones, and those at which aggregation rules come apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from makers.updates import updates_of
from numpy.typing import NDArray

from clipfed_bench.api import ClientUpdates

CASES = 300
KINDS = (
    "continuous",
    "many clients",
    "integers",  # distances tie, exactly
    "duplicates",
    "all equal",
    "one parameter",
    "huge",
    "tiny",
    "mixed",  # clients of other magnitudes
    "far",  # near each other, far from zero
)


@dataclass(frozen=True)
class Case:
    """One round."""

    kind: str
    points: NDArray[np.float64]
    """(K, P), all of them float32 values, so that nobody starts from a rounded one."""
    samples: NDArray[np.int64]
    """(K,), >= 1."""
    assumed: int
    """f, from 0 to half of the clients, rounded up: the most that a share below 0.5 of them can be."""

    @property
    def clients(self) -> int:
        """K."""
        return len(self.points)

    @property
    def updates(self) -> ClientUpdates:
        """As our defenses get it: ids in order."""
        return updates_of(self.points, samples=self.samples)

    @property
    def share(self) -> float:
        """A share of malicious clients, below 0.5, that makes ``assumed`` of them after rounding up."""
        return max(0.0, (self.assumed - 0.75) / self.clients)


def case(seed: int) -> Case:
    """Each seed in turn is of another kind; few clients and the limits of f come often."""
    draw = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    fewest, most = (13, 40) if kind == "many clients" else [(1, 3), (4, 12)][int(draw.random() < 0.7)]
    clients = int(draw.integers(fewest, most + 1))
    size = 1 if kind == "one parameter" else int(draw.integers(2, 31))
    points = draw.normal(size=size) + draw.normal(size=(clients, size))
    if kind == "integers":
        points = draw.integers(-1, 2, size=(clients, size)).astype(np.float64)
    elif kind == "duplicates":
        points = points[draw.integers(0, max(1, clients // 2), size=clients)]
    elif kind == "all equal":
        points = np.repeat(points[:1] * draw.integers(0, 2), clients, axis=0)
    elif kind in ("huge", "tiny"):
        points *= 1e30 if kind == "huge" else 1e-30
    elif kind == "mixed":
        points *= 10.0 ** draw.integers(-6, 7, size=(clients, 1))
    elif kind == "far":
        points = 1000 + 0.1 * points
    limit = -(-clients // 2)
    assumed = int(draw.choice([0, limit, draw.integers(0, limit + 1), draw.integers(0, limit + 1)]))
    return Case(kind, points.astype(np.float32).astype(np.float64), draw.integers(1, 500, clients), assumed)
