"""AlignIns: keep the clients whose updates align with the global model and with the others' signs as most do.

Xu, Zhang and Hu, "Detecting Backdoor Attacks in Federated Learning via Direction Alignment Inspection", CVPR 2025, by
summaries of it and copies of the authors' published code (AlignIns, ``src/aggregation.py``). Of an update Δ_i:

1. TDA, the temporal direction alignment: the cosine of Δ_i and the global model.
2. The principal sign of a parameter is the sign of the sum of all updates' signs. MPSA, the masked principal sign
   alignment: the share, among the k parameters where Δ_i is largest, of those where it has the principal sign.
3. MZ-score of either: the distance to the median of the round over the standard deviation. A client is kept where that
   of TDA is below λ_c and that of MPSA below λ_s.
4. Kept updates are clipped to the median of their norms, and averaged by data size.

Where nobody is kept, the global model stays as it is. In a round without attackers these settings leave out about half
of the clients, by design: one standard deviation is not much.

Deviations: two clients, each one standard deviation from their median, are both kept. All parameters as large as the
k-th largest count, so that equal ones need no order. The median of an even number is the mean of the middle two (the
code takes the lower). BatchNorm running statistics are the kept clients' mean. It takes longer than to read the updates
thrice: the k-th largest of each has to be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.rlr import sign_votes
from clipfed_bench.api import Aggregate, ClientUpdates, Defense, RoundContext, ServerContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.distances import cosines, median, round_significant, row_norms, weighted_sum


@dataclass(frozen=True)
class Config:
    sparsity: float = 0.3
    """k as a share of the parameters, above 0, at most 1 [lineage: the authors' code]."""
    lambda_s: float = 1.0
    """λ_s > 0, bound on the MZ-score of MPSA [lineage: the authors' code]."""
    lambda_c: float = 1.0
    """λ_c > 0, bound on the MZ-score of TDA [lineage: the authors' code]."""


class AlignIns(Defense):
    config: Config

    def __init__(self, config: Config, server: ServerContext) -> None:
        super().__init__(config, server)
        if not 0 < config.sparsity <= 1:
            raise UserError(f"alignins: sparsity {config.sparsity} is not a share of parameters above 0 and at most 1.")
        for name in ("lambda_s", "lambda_c"):
            if getattr(config, name) <= 0:
                raise UserError(f"alignins: {name} {getattr(config, name)} keeps nobody; it must be > 0.")

    def aggregate(self, updates: ClientUpdates, context: RoundContext) -> Aggregate:
        deltas, device = updates.deltas, updates.deltas.device
        kept = self._kept(cosines(deltas, updates.global_params), principal_alignment(deltas, self.config.sparsity))
        norms = row_norms(deltas)
        bound = torch.where(kept, norms, torch.nan).nanquantile(0.5).nan_to_num(0.0)
        scale = torch.where(norms > bound, bound / norms, 1.0)
        weights = to_device(updates.num_samples, device) * kept
        share = torch.where(kept, weights / weights.sum(), 0.0)  # where nobody is kept, weights of 0 and not of 0/0
        buffers = torch.where(kept.any(), share.float() @ updates.buffers, updates.global_buffers)
        info = {"alignins_clip": bound, "alignins_kept": kept.sum()}
        return Aggregate(weighted_sum(deltas, share * scale), buffers, kept, info)

    def _kept(self, tda: Tensor, mpsa: Tensor) -> Tensor:
        """(K,) bool from (K,) float64 each."""
        if len(tda) < 3:
            return torch.ones_like(tda, dtype=torch.bool)
        return (mz_scores(tda) < self.config.lambda_c) & (mz_scores(mpsa) < self.config.lambda_s)


def principal_alignment(deltas: Tensor, sparsity: float) -> Tensor:
    """MPSA (K,) float64 in [0, 1] of updates (K, P); k is int(``sparsity`` P), but at least 1."""
    principal = sign_votes(deltas).sign_()
    count = max(int(sparsity * deltas.shape[1]), 1)
    found = []
    for row in deltas:
        sizes = row.float().abs()
        large = sizes >= kth_largest(sizes, count)
        agree = large & (row.sign() == principal)
        found.append(agree.sum(dtype=torch.float64) / large.sum())
    return torch.stack(found)


def kth_largest(values: Tensor, count: int) -> Tensor:
    """The ``count``-th largest of (P,) float32 ``values`` >= 0, without dimensions; nothing waits for a GPU.

    On a CPU by counting: the bits of such numbers are in their order. Sorting in part takes longer where many tie.
    """
    if values.device.type != "cpu":
        return values.kthvalue(len(values) - count + 1).values
    bits = values.numpy().view(np.int32)
    high = bits >> 16
    upper, count = _place_from_the_top(np.bincount(high), count)
    lower, _ = _place_from_the_top(np.bincount(bits[high == upper] & 0xFFFF), count)
    return torch.from_numpy(np.array([upper << 16 | lower], dtype=np.int32).view(np.float32))[0]


def _place_from_the_top(counts: NDArray[np.int64], count: int) -> tuple[int, int]:
    """Where the ``count``-th from the top is, by how often each number occurs, and the how-manieth it is there."""
    above = counts[::-1].cumsum()
    place = int(np.searchsorted(above, count))
    return len(counts) - 1 - place, count - int(above[place] - counts[::-1][place])


def mz_scores(values: Tensor) -> Tensor:
    """Distance of (K,) float64 ``values`` to their median over their standard deviation; 0 where all are equal."""
    values = round_significant(values)  # or the last bits would decide who is one standard deviation off
    deviation = values.std(correction=0)
    equal = values.amax() <= values.amin()
    return torch.where(equal, 0.0, round_significant((values - median(values)).abs() / deviation))
