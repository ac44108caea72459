"""FLDetector against a slow reference over rounds of changing clients, its parts, and its effect."""

from itertools import combinations

import numpy as np
import pytest
import torch
from makers.updates import SERVER, numpy, updates_of

from baselines.fldetector import Config, FLDetector
from clipfed_bench.api import RoundContext
from clipfed_bench.core.errors import UserError
from clipfed_bench.toolbox.gap import upper_cluster, within_sums
from clipfed_bench.toolbox.lbfgs import hessian_products

SIZE = 40


def product(steps, turns, vector):
    """B v, by the formula of Byrd et al., from lists of s and y."""
    s, y = np.array(steps).T, np.array(turns).T
    sigma = (y[:, -1] @ s[:, -1]) / (s[:, -1] @ s[:, -1])
    lower = np.tril(s.T @ y, -1)
    middle = np.block([[sigma * s.T @ s, lower], [lower.T, -np.diag(np.diag(s.T @ y))]])
    right = np.concatenate([sigma * s.T @ vector, y.T @ vector])
    return sigma * vector - np.concatenate([sigma * s, y], axis=1) @ np.linalg.inv(middle) @ right


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_products_equal_the_formula_and_keep_the_last_pair(pairs):
    draw = np.random.default_rng(pairs)
    steps = [draw.normal(size=SIZE)]
    for _ in range(pairs):
        steps.append(0.7 * steps[-1] + 0.4 * draw.normal(size=SIZE))
    vectors = np.stack([draw.normal(size=SIZE), steps[-2]])
    found = hessian_products(torch.tensor(np.array(steps)).float(), torch.tensor(vectors).float())
    turns = np.diff(steps, axis=0)
    expected = [product(steps[:-1], turns, v) for v in vectors]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1], turns[-1], rtol=1e-3, atol=1e-4)  # B s = y


@pytest.mark.parametrize("steps", [torch.zeros(3, 5), torch.ones(3, 5), torch.eye(3, 5)])
def test_products_are_finite_where_there_is_no_inverse(steps):
    assert hessian_products(steps, torch.ones(2, 5)).isfinite().all()


def squares(values):
    return ((values - values.mean()) ** 2).sum()


def best_cut(values):
    """(sum of squares, members of the upper cluster) of the best cut."""
    order = np.argsort(values)
    found = [(squares(values[order[:k]]) + squares(values[order[k:]]), set(order[k:])) for k in range(1, len(values))]
    return min(found, key=lambda entry: entry[0])


def test_two_clusters_are_the_best_of_all():
    for seed in range(12):
        values = np.random.default_rng(seed).uniform(size=2 + seed % 6)
        count, ways = len(values), []
        for size in range(1, count):
            ways += [(list(c), np.setdiff1d(range(count), c)) for c in combinations(range(count), size)]
        best = min(squares(values[one]) + squares(values[other]) for one, other in ways)
        sums, cut = within_sums(torch.from_numpy(values)[None])
        assert sums[0].tolist() == pytest.approx([squares(values), best], abs=1e-12)
        assert best_cut(values) == (pytest.approx(best), set(np.argsort(values)[int(cut) + 1 :].tolist()))


def upper_reference(values, stream):
    scaled = (values - values.min()) / (values.max() - values.min())
    drawn = torch.rand(10, len(values), generator=stream, dtype=torch.float64).numpy()
    ones = [squares(row) for row in drawn]
    twos = [best_cut(row)[0] for row in drawn]
    first = np.log(np.mean(ones)) - np.log(squares(scaled))
    second = np.log(np.mean(twos)) - np.log(best_cut(scaled)[0])
    one = first - second + np.sqrt(1.1) * np.std(np.log(twos)) >= 0
    return set() if one else best_cut(values)[1]


def test_the_gap_statistic_equals_a_slow_one():
    sizes = []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        values = np.concatenate([draw.normal(0, 0.1, 5), draw.normal(draw.choice([0, 0.3, 1]), 0.1, 2)])
        upper = upper_reference(values, torch.Generator().manual_seed(seed))
        found = upper_cluster(torch.from_numpy(values), torch.Generator().manual_seed(seed))
        assert set(found.nonzero().flatten().tolist()) == upper
        sizes.append(len(upper))
    assert {0, 2} <= set(sizes)


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [3.0] * 5, [0.0] * 4])
def test_few_or_equal_values_are_one_cluster(values):
    values = torch.tensor(values, dtype=torch.float64)
    assert not upper_cluster(values, torch.Generator().manual_seed(0)).any()


class Rounds:
    """Clients with quadratic losses around optima of their own, a global model that follows the aggregate."""

    def __init__(self, seed, clients, attackers=0):
        self.draw = np.random.default_rng(seed)
        self.curvature = self.draw.uniform(0.1, 0.5, SIZE)
        self.optima = 3 + self.draw.normal(size=(clients, SIZE))
        self.model, self.attackers, self.number = np.zeros(SIZE), attackers, 0

    def updates(self, clients):
        self.number += 1
        deltas = self.curvature * (self.optima[clients] - self.model) + 0.01 * self.draw.normal(
            size=(len(clients), SIZE)
        )
        for row, client in enumerate(clients):
            if client < self.attackers:
                deltas[row] = self.draw.normal(size=SIZE)
        updates = updates_of(deltas, clients, self.model, samples=[10.0 + c for c in clients])
        return updates, RoundContext(self.number, 4)

    def play(self, defense, clients):
        updates, context = self.updates(clients)
        result = defense.aggregate(updates, context)
        self.model = self.model + numpy(result.delta)
        return updates, result


def test_equals_the_reference_over_rounds_of_changing_clients():
    window, world, defense = 3, Rounds(1, 9, attackers=2), FLDetector(Config(3), SERVER)
    moves, models, sent, histories, scored, removed = [], {}, {}, {}, 0, 0
    for number in range(1, 15):
        clients = world.draw.permutation(9)[:7].tolist()
        before = world.model.copy()
        updates, result = world.play(defense, clients)
        known = [c for c in clients if c in sent]
        kept, points = np.ones(7, dtype=bool), dict(zip(clients, numpy(updates.deltas), strict=True))
        if known and len(moves) > window:
            pairs = moves[-window - 1 :]
            distances = []
            for c in known:
                s, update = sent[c]
                guess = update + product(pairs[:-1], np.diff(pairs, axis=0), before - models[s])
                distances.append(np.sqrt(((points[c] - guess) ** 2).sum()))
            for c, distance in zip(known, np.array(distances) / np.mean(distances), strict=True):
                histories.setdefault(c, []).append(distance)
            scored += 1
            scores = np.array([np.mean(histories[c][-window:]) for c in known])
            rows = [clients.index(c) for c in known]
            np.testing.assert_allclose(defense.scores(updates, rows), scores, rtol=1e-3)
            if scored >= window:
                stream = RoundContext(number, 4).generator("fldetector-gap")
                for k in upper_reference(scores, stream):
                    kept[rows[k]] = False
        assert result.kept.tolist() == kept.tolist()
        assert result.info["fldetector_malicious"] == (~kept).sum()
        removed += (~kept).sum()
        weights = updates.num_samples.numpy() * kept
        move = weights @ numpy(updates.deltas) / weights.sum()
        np.testing.assert_allclose(result.delta, move, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(result.buffers, weights @ numpy(updates.buffers) / weights.sum(), rtol=1e-5)
        moves.append(numpy(result.delta))
        models[number] = before
        sent |= {c: (number, points[c]) for c in clients}
    assert removed > 5


def test_clients_whose_updates_nothing_predicts_are_left_out_and_the_others_kept():
    world, defense = Rounds(2, 10, attackers=2), FLDetector(Config(window=4), SERVER)
    kept = torch.stack([world.play(defense, list(range(10)))[1].kept for _ in range(14)])
    assert kept[:8].all()  # five aggregates are four pairs, and four rounds have to be scored
    assert not kept[8:, :2].any()
    assert kept[:, 2:].all()


def test_nobody_is_left_out_where_all_are_alike():
    world, defense = Rounds(3, 8), FLDetector(Config(window=2), SERVER)
    kept = torch.stack([world.play(defense, list(range(8)))[1].kept for _ in range(12)])
    assert kept.double().mean() > 0.9


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_equal_updates_are_all_kept(count, value):
    defense = FLDetector(Config(window=1), SERVER)
    for number in range(1, 6):
        updates = updates_of(np.full((count, 4), value), params=np.full(4, number * value))
        result = defense.aggregate(updates, RoundContext(number))
        assert result.kept.all()
        assert result.delta.tolist() == pytest.approx([value] * 4)


def test_a_new_instance_goes_on_with_the_state():
    one, other = Rounds(5, 8, attackers=2), Rounds(5, 8, attackers=2)
    whole, first = (FLDetector(Config(window=2), SERVER) for _ in range(2))
    removed = 0
    for k in range(10):
        clients = [c for c in range(8) if c != k % 4]
        expected, defense = one.play(whole, clients)[1], FLDetector(Config(window=2), SERVER)
        defense.load_state({name: tensor.clone() for name, tensor in first.state().items()})
        found, first = other.play(defense, clients)[1], defense
        assert torch.equal(found.delta, expected.delta)
        removed += int((~found.kept).sum())
    assert removed
    state = first.state()
    assert len([name for name in state if name.startswith("model-")]) == 2  # of rounds that a last update is of


def test_an_impossible_window_says_what_is_right():
    with pytest.raises(UserError, match="fldetector: window 0"):
        FLDetector(Config(window=0), SERVER)
