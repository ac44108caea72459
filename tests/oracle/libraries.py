"""The same rules in Flower (both of its interfaces) and ByzFL, as functions of updates as models: (K, P) -> (P,)."""

from __future__ import annotations

from dataclasses import dataclass

import byzfl
import flwr.server.strategy
import flwr.serverapp.strategy
import numpy as np
from flwr.app import ArrayRecord, MetricRecord, RecordDict
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from numpy.typing import NDArray

Points = NDArray[np.floating]


@dataclass(frozen=True)
class _Reply:
    """What a strategy reads of a message; Flower makes messages only within its own runs."""

    content: RecordDict

    def has_error(self) -> bool:
        return False


class Flower:
    """The strategies of ``flwr.server``."""

    def krum(self, points: Points, samples: NDArray[np.int64], assumed: int, kept: int = 0) -> Points:
        """Krum, or Multi-Krum of ``kept`` clients."""
        rule = flwr.server.strategy.Krum(num_malicious_clients=assumed, num_clients_to_keep=kept)
        return self.aggregate(rule, points, samples)

    def median(self, points: Points) -> Points:
        return self.aggregate(flwr.server.strategy.FedMedian(), points)

    def trimmed_mean(self, points: Points, beta: float) -> Points:
        return self.aggregate(flwr.server.strategy.FedTrimmedAvg(beta=beta), points)

    def aggregate(self, strategy: object, points: Points, samples: NDArray[np.int64] | None = None) -> Points:
        counts = np.ones(len(points), dtype=np.int64) if samples is None else samples
        results = [
            (None, FitRes(Status(Code.OK, ""), ndarrays_to_parameters(layers(row)), int(count), {}))
            for row, count in zip(points, counts, strict=True)
        ]
        parameters, _ = strategy.aggregate_fit(2, results, [])
        return np.concatenate(parameters_to_ndarrays(parameters))


class FlowerMessages(Flower):
    """The strategies of ``flwr.serverapp``."""

    def krum(self, points: Points, samples: NDArray[np.int64], assumed: int, kept: int = 1) -> Points:
        rule = flwr.serverapp.strategy.MultiKrum(num_malicious_nodes=assumed, num_nodes_to_select=kept)
        return self.aggregate(rule, points, samples)

    def median(self, points: Points) -> Points:
        return self.aggregate(flwr.serverapp.strategy.FedMedian(), points)

    def trimmed_mean(self, points: Points, beta: float) -> Points:
        return self.aggregate(flwr.serverapp.strategy.FedTrimmedAvg(beta=beta), points)

    def aggregate(
        self, strategy: object, points: Points, samples: NDArray[np.int64] | None = None, number: int = 2
    ) -> Points:
        counts = np.ones(len(points), dtype=np.int64) if samples is None else samples
        replies = [
            _Reply(RecordDict({"arrays": ArrayRecord(layers(row)), "metrics": MetricRecord({"num-examples": int(n)})}))
            for row, n in zip(points, counts, strict=True)
        ]
        arrays, _ = strategy.aggregate_train(number, replies)
        return np.concatenate(arrays.to_numpy_ndarrays())


class ByzFL:
    """ByzFL, of arrays; of tensors it computes in float32."""

    def krum(self, points: Points, assumed: int) -> Points:
        return byzfl.Krum(assumed)(points)

    def multi_krum(self, points: Points, assumed: int) -> Points:
        return byzfl.MultiKrum(assumed)(points)

    def median(self, points: Points) -> Points:
        return byzfl.Median()(points)

    def trimmed_mean(self, points: Points, trimmed: int) -> Points:
        return byzfl.TrMean(trimmed)(points)

    def geometric_median(self, points: Points, steps: int, smoothing: float) -> Points:
        return byzfl.GeometricMedian(nu=smoothing, T=steps)(points)

    def centered_clipping(self, rounds: list[Points], tau: float, steps: int) -> list[Points]:
        """What each round comes to; it keeps the center."""
        rule = byzfl.CenteredClipping(L=steps, tau=tau)
        return [rule(points) for points in rounds]

    def nearest_neighbor_mixing(self, points: Points, assumed: int) -> Points:
        """(K, P): a mixture for each client."""
        return byzfl.NNM(assumed)(points)

    def bucketing(self, points: Points, size: int) -> Points:
        """(buckets, P), of an order of its own."""
        return byzfl.Bucketing(size)(points)


def layers(row: Points) -> list[Points]:
    """A model of two layers, or of one where there is one parameter."""
    return [part for part in (row[: len(row) // 2], row[len(row) // 2 :]) if len(part)]


FLOWERS = {"flwr.server": Flower(), "flwr.serverapp": FlowerMessages()}
