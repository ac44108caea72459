"""Bucketing and nearest-neighbor mixing against slow references, around other defenses, and what they refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.updates import ROUND, SERVER, numpy, random_deltas, updates_of

from baselines import bucketing, nnm
from clipfed_bench.api import Defense, RoundContext
from clipfed_bench.components.registry import choose, create_defense
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.rng import generator


def make(label, server=SERVER):
    return create_defense(choose("defense", label), server)


def some_updates(seed, count=10):
    draw = np.random.default_rng([seed, count])
    ids, samples = draw.permutation(100)[:count].tolist(), draw.integers(1, 500, count)
    return updates_of(random_deltas(seed, count), ids, samples=samples, buffers=draw.normal(size=(count, 3)))


def neighbors(points, ids, count):
    """Allouah et al., Algorithm 2: for each client the rows of the ``count`` nearest to it, itself among them."""
    found = []
    for i, point in enumerate(points):
        apart = [-1.0 if j == i else float(f"{((point - other) ** 2).sum():.8e}") for j, other in enumerate(points)]
        found.append(sorted(sorted(range(len(points)), key=lambda j: (apart[j], ids[j]))[:count]))
    return found


def in_buckets(ids, s, context):
    """Karimireddy et al., Algorithm 1: a random order of the clients, cut into pieces of s."""
    order = torch.randperm(len(ids), generator=generator(context.seed, "bucketing", context.round)).tolist()
    rows = [sorted(range(len(ids)), key=ids.__getitem__)[i] for i in order]
    return [rows[i : i + s] for i in range(0, len(rows), s)]


def check_mixtures(mixed, parts, groups, updates):
    assert [row.nonzero().flatten().tolist() for row in parts] == [sorted(group) for group in groups]
    for matrix, given in ((mixed.deltas, updates.deltas), (mixed.buffers, updates.buffers)):
        means = [sum(numpy(given)[i] for i in group) / len(group) for group in groups]
        np.testing.assert_allclose(numpy(matrix), means, rtol=1e-4, atol=1e-5)
    assert mixed.num_samples.tolist() == [sum(float(updates.num_samples[i]) for i in group) for group in groups]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.45])
@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_nnm_mixes_as_algorithm_2_says(count, share):
    updates, malicious = some_updates(1, count), math.ceil(share * count - 1e-9)
    mixed, parts, info = nnm.NNM(nnm.Config(malicious=share), SERVER).mixed(updates, ROUND)
    check_mixtures(mixed, parts, neighbors(numpy(updates.deltas), updates.clients, max(count - malicious, 1)), updates)
    assert mixed.clients == updates.clients
    assert info == {"nnm_malicious": malicious, "nnm_guarantee": float(count > 2 * malicious)}


@pytest.mark.parametrize("s", [1, 2, 3, 20])
@pytest.mark.parametrize("count", [1, 2, 7, 10])
def test_bucketing_mixes_as_algorithm_1_says(count, s):
    updates, context = some_updates(2, count), RoundContext(5, 7)
    mixed, parts, info = bucketing.Bucketing(bucketing.Config(s=s), SERVER).mixed(updates, context)
    groups = in_buckets(updates.clients, s, context)
    check_mixtures(mixed, parts, groups, updates)
    assert info["bucketing_buckets"] == len(groups) == len(set(mixed.clients)) == math.ceil(count / s)
    assert info["bucketing_guarantee"] == float(2 * math.ceil(0.2 * count) < len(groups))


def test_nnm_ties_go_to_the_client_itself_and_then_to_the_lowest_id():
    equal = nnm.nearest(torch.zeros(4, 4, dtype=torch.float64), (7, 2, 9, 4), 2).int().tolist()
    assert equal == [[1, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize("inner", ["krum", "multi-krum", "median", "rfa", "fedavg[weighted=false]", "flame[noise=0]"])
@pytest.mark.parametrize("wrapper", ["nnm", "bucketing"])
def test_the_aggregate_is_the_other_defenses_of_the_mixtures(wrapper, inner):
    for seed in range(3):
        updates = some_updates(seed)
        wrapped = make(f"{wrapper}[of={inner}]")
        mixed, parts, info = wrapped.mixed(updates, ROUND)
        told = replace(SERVER, assumed_malicious=0.4 if wrapper == "bucketing" else 0.2)
        expected, result = make(inner, told).aggregate(mixed, ROUND), wrapped.aggregate(updates, ROUND)
        assert torch.equal(result.delta, expected.delta)
        assert torch.equal(result.buffers, expected.buffers)
        assert result.info.keys() == expected.info.keys() | info.keys()
        if expected.kept is None:
            assert result.kept is None
        else:  # all clients of each mixture that was kept
            rows = expected.kept.nonzero().flatten().tolist()
            accepted = {i for row in rows for i in parts[row].nonzero().flatten().tolist()}
            assert set(result.kept.nonzero().flatten().tolist()) == accepted


def test_nnm_of_a_mean_of_everybody_is_the_mean():
    updates = some_updates(3)
    result = make("nnm[of=fedavg[weighted=false],malicious=0]").aggregate(updates, ROUND)
    np.testing.assert_allclose(numpy(result.delta), numpy(updates.deltas).mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("label", "malicious"), [("nnm[malicious=0.3]", 3), ("nnm", 2), ("bucketing", 2)])
def test_the_other_defense_is_told_how_many_mixtures_may_be_malicious(label, malicious):
    result = make(label).aggregate(some_updates(4), ROUND)  # 10 mixtures of nnm, and 5 buckets
    assert result.info["krum_malicious"] == malicious
    explicit = make("nnm[of=krum[malicious=0.4],malicious=0.1]").aggregate(some_updates(4), ROUND)
    assert (explicit.info["krum_malicious"], explicit.info["nnm_malicious"]) == (4, 1)


def test_buckets_are_others_in_each_round_and_never_known_clients():
    updates, wrapped = some_updates(5), make("bucketing[of=foolsgold]")
    first, second = (wrapped.mixed(updates, RoundContext(number)) for number in (1, 2))
    assert not torch.equal(first[1], second[1])
    assert not set(first[0].clients) & {*second[0].clients, *updates.clients}
    for number in (1, 2):
        after = wrapped.aggregate(updates, RoundContext(number))
    fresh = make("bucketing[of=foolsgold]").aggregate(updates, RoundContext(2))
    assert torch.equal(after.delta, fresh.delta)


@pytest.mark.parametrize("label", ["nnm[of=centered-clip]", "bucketing[of=centered-clip]", "nnm[of=foolsgold]"])
def test_state_is_the_other_defenses(label):
    first, second, fresh = (make(label) for _ in range(3))
    first.aggregate(some_updates(6), ROUND)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    updates, context = some_updates(7), RoundContext(2)
    again = updates_of(updates.deltas, some_updates(6).clients)  # whom the first knows
    one, two, none = (d.aggregate(again, context).delta for d in (first, second, fresh))
    assert torch.equal(one, two)
    assert not torch.equal(one, none)


def test_preparing_and_purifying_are_handed_on(monkeypatch):
    called = []
    monkeypatch.setattr(Defense, "prepare", lambda self: called.append(type(self).__name__))
    monkeypatch.setattr(Defense, "purify", lambda self, model, context: called.append((model, context)))
    wrapped, model = make("nnm[of=median]"), torch.nn.Linear(1, 1)
    wrapped.prepare()
    wrapped.purify(model, ROUND)
    assert called == ["Median", (model, ROUND)]


def test_mixing_helps_krum_where_honest_clients_differ():
    """Krum's choice of one of very different clients is far from their mean; a mixture is nearer."""
    server = replace(SERVER, assumed_malicious=0.1)
    errors = {"krum": [], "nnm": [], "bucketing": []}
    for seed in range(5):
        benign = np.random.default_rng(seed).normal(size=(18, 100))
        updates = updates_of(np.concatenate([benign, np.full((2, 100), 4.0)]))
        for label, found in errors.items():
            delta = numpy(make(label, server).aggregate(updates, RoundContext(seed + 1)).delta)
            found.append(np.linalg.norm(delta - benign.mean(axis=0)))
    assert max(errors["nnm"]) < 0.3 * min(errors["krum"])
    assert np.mean(errors["bucketing"]) < 0.8 * np.mean(errors["krum"])  # 1 / √2 of a mean of two


@pytest.mark.parametrize("wrapper", ["nnm", "bucketing"])
@pytest.mark.parametrize(
    ("of", "text"),
    [
        ("krumm", "unknown defense 'krumm'. Did you mean 'krum'"),
        ("krum[malicious=0.7]", "krum: malicious 0.7"),
        ("krum[f=2]", "f"),
        ("nnm", "is itself a wrapper"),
        ("bucketing[of=median]", "is itself a wrapper"),
        ("clip-fed", "clip-fed needs a teacher"),
        ("fltrust", "fltrust needs server data"),
        ("rkd", "rkd needs server data"),
    ],
)
def test_what_cannot_be_wrapped_is_said_with_the_name_of_the_wrapper(wrapper, of, text):
    with pytest.raises(UserError) as caught:
        make(f"{wrapper}[of={of}]")
    assert str(caught.value).startswith(f"{wrapper}: of {of} ")
    assert text in str(caught.value)


def test_impossible_options_say_what_is_right():
    with pytest.raises(UserError, match="bucketing: s 0"):
        make("bucketing[s=0]")
    with pytest.raises(UserError, match=r"nnm: malicious 0\.5"):
        make("nnm[malicious=0.5]")
