"""Who is malicious, who takes part in a round, and what a malicious client does with how many of its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import floor

import torch

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.shares import carried, part
from clipfed_bench.toolbox.device import to_device
from clipfed_bench.toolbox.images import Images
from clipfed_bench.toolbox.rng import generator, stream_seed


def malicious_clients(spec: CellSpec) -> tuple[int, ...]:
    """Ids of the malicious clients, ascending: :attr:`~clipfed_bench.config.cell_spec.CellSpec.attackers` of them."""
    order = torch.randperm(spec.clients, generator=generator(spec.seed, "malicious"))
    return tuple(sorted(order[: spec.attackers].tolist()))


def sample_clients(spec: CellSpec, round_: int) -> tuple[int, ...]:
    """The round's clients, ascending; the same for every attack and defense.

    With ``malicious_sampling = "fixed"`` the share ``malicious`` of a round is malicious [lineage]. Where that is no
    whole number, rounds have the one below or above it, evenly spread, so that the share holds over rounds: at 1 % of
    100 clients and ten a round, one of ten rounds is attacked (the fixed-frequency attack of Sun et al., "Can You
    Really Backdoor Federated Learning?", 2019). Which rounds have one more depends on the seed. With ``"random"``
    clients are drawn from all alike [ours].
    """
    stream = generator(spec.seed, "sampling", round_)
    if spec.malicious_sampling == "random":
        return tuple(sorted(torch.randperm(spec.clients, generator=stream)[: spec.clients_per_round].tolist()))
    bad = malicious_clients(spec)
    good = sorted(set(range(spec.clients)) - set(bad))
    wanted, phase = part(spec.malicious, spec.clients_per_round), _uniform(spec.seed, "attackers")
    count = floor(wanted * round_ + phase) - floor(wanted * (round_ - 1) + phase)
    count = min(max(count, spec.clients_per_round - len(good)), len(bad))
    chosen = [bad[i] for i in torch.randperm(len(bad), generator=stream)[:count]]
    chosen += [good[i] for i in torch.randperm(len(good), generator=stream)[: spec.clients_per_round - count]]
    return tuple(sorted(chosen))


def poisoned_counts(spec: CellSpec, round_: int, client: int, sizes: Iterable[int]) -> Iterator[int]:
    """How many images of each of a malicious client's batches, of ``sizes``, are poisoned in a round.

    They depend on nothing but seed, round, client and sizes. The share holds on average, and over the batches of a
    round to within one image [ours]; with ``poison_rounding = "down"`` each batch is rounded down [lineage].
    """
    if spec.poison_rounding == "down":
        return (int(spec.poison_ratio * size) for size in sizes)
    return carried((part(spec.poison_ratio, size) for size in sizes), _uniform(spec.seed, "poison", round_, client))


def split_off(data: Images, share: float, seed: int, client: int) -> tuple[Images, Images]:
    """(rest, images drawn for good): what a client trains on and what it keeps to validate on.

    It keeps ``int(share * N)`` images, at least one of two or more where ``share`` is above 0.
    """
    count = held_back(share, len(data))
    if count == 0:
        nothing = torch.empty(0, dtype=torch.int64, device=data.labels.device)
        return data, data.take(nothing)
    order = to_device(torch.randperm(len(data), generator=generator(seed, "held-out", client)), data.labels.device)
    return data.take(order[count:]), data.take(order[:count])


def held_back(share: float, images: int) -> int:
    """How many of its ``images`` a client keeps to validate on."""
    return max(int(share * images), min(1, images - 1) if share > 0 else 0)


def _uniform(seed: int, purpose: str, *index: int) -> Fraction:
    """Uniform in [0, 1), drawn from no stream that anything else is drawn from."""
    return Fraction(stream_seed(seed, purpose, *index), 1 << 63)
