"""Is there one cluster of numbers or more? The gap statistic, and the upper of two clusters.

Tibshirani, Walther and Hastie, "Estimating the number of clusters in a data set via the gap statistic", JRSS B 2001:
with W_k the sum of squared distances to the means of k clusters, Gap(k) is how much smaller log W_k is than that of
numbers drawn uniformly from the same range, and the number of clusters is the first k with Gap(k) >= Gap(k + 1) -
s_{k+1}. Whether that is more than one depends on k = 1 and 2 alone. Two clusters of numbers are a lower and an upper
part, so that k-means is solved exactly, by trying each cut.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def upper_cluster(values: Tensor, stream: torch.Generator, references: int = 10) -> Tensor:
    """Which of (n,) float64 ``values`` on the CPU are in the upper of two clusters: (n,) bool, none if there is one.

    ``references``: how often uniform numbers are drawn from ``stream``, 2 or more. Log W_k of them is averaged before
    the logarithm, as FLDetector's authors do. Fewer than three values, or equal ones, are one cluster.
    """
    low, high = values.min(), values.max()
    if len(values) < 3 or not low < high:
        return torch.zeros(len(values), dtype=torch.bool)
    drawn = torch.rand(references, len(values), generator=stream, dtype=torch.float64)
    found, _ = within_sums(((values - low) / (high - low))[None])
    expected, _ = within_sums(drawn)
    gap = expected.mean(dim=0).log() - found[0].log()
    error = math.sqrt(1 + 1 / references) * expected[:, 1].log().std(correction=0)
    if gap[0] >= gap[1] - error:
        return torch.zeros(len(values), dtype=torch.bool)
    _, cut = within_sums(values[None])
    return values > values.sort().values[cut[0]]


def within_sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """(R, 2) sums of squared distances to the mean of all of (R, n >= 2) ``values`` and to the means of two clusters.

    And (R,) int64, the place of the last value of the lower cluster among the sorted ones. Both clusters have a value.
    """
    ordered = values.sort(dim=1).values
    ordered = ordered - ordered.mean(dim=1, keepdim=True)
    count = ordered.shape[1]
    below = ordered.cumsum(dim=1)[:, :-1]  # the sum of the upper part is as large, and negative
    size = torch.arange(1, count, dtype=values.dtype)
    whole = ordered.square().sum(dim=1)
    between, cut = (below.square() * (1 / size + 1 / (count - size))).max(dim=1)
    apart = (whole - between).clamp(min=torch.finfo(values.dtype).tiny)
    return torch.stack([whole, apart], dim=1), cut
