"""Robust accuracy: share of triggered test images of other classes that are still taken for their own class.

Wu et al., "BackdoorBench: A Comprehensive Benchmark of Backdoor Learning", NeurIPS 2022 Datasets and Benchmarks, where
it stands beside ASR: an image that is not taken for the target need not be taken for what it is.

Deviations: none.
"""

from __future__ import annotations

from torch import Tensor

from clipfed_bench.api import Measurement, TestOutputs


class RobustAccuracy(Measurement):
    label = "RA"
    better = "highest"
    kind = "fraction"

    def measure(self, outputs: TestOutputs) -> Tensor:
        right = outputs.triggered.argmax(dim=1) == outputs.triggered_labels
        return right.double().mean()  # nan without triggered images
