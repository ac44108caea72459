"""Who is malicious, who takes part in a round, and which of its images a malicious client keeps to itself."""

from __future__ import annotations

import torch

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.images import Images
from clipfed_bench.toolbox.rng import generator


def malicious_clients(spec: CellSpec) -> tuple[int, ...]:
    """Ids of the malicious clients, ascending: ``round(malicious * clients)`` of them, at least one if any."""
    count = max(round(spec.malicious * spec.clients), 1) if spec.malicious > 0 else 0
    return tuple(sorted(torch.randperm(spec.clients, generator=generator(spec.seed, "malicious"))[:count].tolist()))


def sample_clients(spec: CellSpec, round_: int) -> tuple[int, ...]:
    """The round's clients, ascending; the same for every attack and defense.

    With ``malicious_sampling = "fixed"`` the malicious share of a round is held at ``malicious`` (at least one client
    if any) [lineage]; with ``"random"`` clients are drawn from all alike [ours].
    """
    stream = generator(spec.seed, "sampling", round_)
    if spec.malicious_sampling == "random":
        return tuple(sorted(torch.randperm(spec.clients, generator=stream)[: spec.clients_per_round].tolist()))
    bad = malicious_clients(spec)
    good = sorted(set(range(spec.clients)) - set(bad))
    count = max(round(spec.malicious * spec.clients_per_round), 1) if bad else 0
    count = min(max(count, spec.clients_per_round - len(good)), len(bad))
    chosen = [bad[i] for i in torch.randperm(len(bad), generator=stream)[:count]]
    chosen += [good[i] for i in torch.randperm(len(good), generator=stream)[: spec.clients_per_round - count]]
    return tuple(sorted(chosen))


def split_off(data: Images, share: float, seed: int, client: int) -> tuple[Images, Images]:
    """(rest, ``int(share * N)`` images drawn for good): what a client trains on and what it keeps to validate on."""
    count = int(share * len(data))
    if count == 0:
        nothing = torch.empty(0, dtype=torch.int64, device=data.labels.device)
        return data, data.take(nothing)
    order = to_device(torch.randperm(len(data), generator=generator(seed, "held-out", client)), data.labels.device)
    return data.take(order[count:]), data.take(order[:count])
