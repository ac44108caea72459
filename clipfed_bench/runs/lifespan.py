"""How long a backdoor stays when nobody feeds it any more.

Zhang et al., "Neurotoxin: Durable Backdoors in Federated Learning", ICML 2022: the lifespan is the last round, counted
from the end of the attack, in which the ASR is above a threshold, 50 % in their experiments. Deviations: the threshold
is half of the highest ASR of the attacked rounds, so that backdoors that differ in strength compare; the ASR must have
been above it since the attack ended; and only evaluated rounds count, so that it is known to ``eval_every`` rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

PEAK = 0.5
"""ASR from which there was a backdoor that can live [ours: the paper's threshold]."""


def lifespan(evaluations: Sequence[Mapping[str, float]], attacked: tuple[int, int] | None) -> float:
    """Rounds, 0 if it was gone at the first evaluation; where it outlives the cell, the rounds that were left.

    ``evaluations`` have ``round`` and ``asr``; ``attacked`` is the first and the last attacked round. NaN without an
    attack that ends, without evaluations in and after it, and where its ASR never came to PEAK.
    """
    if attacked is None:
        return math.nan
    start, stop = attacked
    peak = max((row["asr"] for row in evaluations if start <= row["round"] <= stop), default=math.nan)
    after = [row for row in evaluations if row["round"] > stop]
    if not peak >= PEAK or not after:
        return math.nan
    lived = takewhile(lambda row: row["asr"] > peak / 2, after)
    return max((row["round"] - stop for row in lived), default=0)
