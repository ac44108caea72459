"""The simulator's parts against hand-made examples and a plain PyTorch loop."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from held import Held
from torch import Tensor, nn

from clipfed_bench.api import Aggregate, Attack, AttackContext, ClientUpdates, RoundContext, ServerContext
from clipfed_bench.components.registry import choose, create_attack, create_defense
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.simulator.aggregation import aggregate_updates, detection
from clipfed_bench.simulator.evaluate import evaluate, make_test_sets
from clipfed_bench.simulator.executor import Executor
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.history import Log
from clipfed_bench.simulator.local import Hyper, Task, batches
from clipfed_bench.simulator.sampling import malicious_clients, sample_clients
from clipfed_bench.toolbox.classifier import Classifier
from clipfed_bench.toolbox.images import Images, Normalizer

PLAIN = Normalizer((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def _images(count: int, seed: int = 0) -> Images:
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), generator=stream, dtype=torch.uint8)
    return Images(pixels, torch.randint(0, 10, (count,), generator=stream))


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_flat_model_computes_what_the_model_computes(name: str) -> None:
    model, twin = build_model(name, 10, 3), build_model(name, 10, 3)
    flat = FlatModel(model)
    images = PLAIN(PLAIN.pixels(_images(4).images))
    assert flat.num_params == sum(p.numel() for p in twin.parameters())
    torch.testing.assert_close(model.train()(images), twin.train()(images), rtol=1e-5, atol=1e-5)
    # BatchNorm wrote its running statistics into the flat vector, and nothing else is in it.
    expected = [b for n, b in twin.named_buffers() if "num_batches" not in n]
    flat_expected = torch.cat([b.flatten() for b in expected]) if expected else torch.empty(0)
    torch.testing.assert_close(flat.buffers, flat_expected)


def test_parameters_of_odd_sizes_come_last_in_the_flat_vector() -> None:
    """A GPU's kernels load 16 bytes at a time; most models that ship have no such parameter but the last bias."""

    class Odd(Classifier):
        def __init__(self) -> None:
            super().__init__(None, (1, 28, 28), 10)
            self.convolution = nn.Conv2d(1, 6, 5)
            self.hidden = nn.Linear(24, 16)
            self.classifier = nn.Linear(16, 10)

        def features(self, images: Tensor) -> Tensor:
            return F.relu(self.hidden(F.adaptive_avg_pool2d(self.convolution(images), 2).flatten(1)))

    flat = FlatModel(Odd())
    starts = {name: place.start for name, place in flat.layers.items()}
    odd = ["convolution.weight", "convolution.bias", "classifier.bias"]
    assert list(starts)[-3:] == odd
    assert all(start % 4 == 0 for name, start in starts.items() if name not in odd[1:])
    views = dict(zip(dict(flat.model.named_parameters()), flat.views(flat.params), strict=True))
    assert all(torch.equal(p, views[name]) for name, p in flat.model.named_parameters())


def test_resnet18_has_the_published_size() -> None:
    assert sum(p.numel() for p in build_model("resnet18", 10, 0).parameters()) == 11_173_962


def test_models_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    first = FlatModel(build_model("cnn", 10, 1)).params
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(first, FlatModel(build_model("cnn", 10, 1)).params)
    assert not torch.equal(first, FlatModel(build_model("cnn", 10, 2)).params)
    assert torch.equal(state, torch.get_rng_state())  # and the global stream is left alone


@pytest.mark.parametrize("decay", [0.0, 1e-3])
def test_local_training_is_torch_sgd(decay: float) -> None:
    data, hyper = _images(50), Hyper(epochs=2, batch_size=16, lr=0.05, momentum=0.9, weight_decay=decay)
    flat = FlatModel(build_model("cnn", 10, 0))
    before = flat.params.clone()
    deltas, statistics = torch.empty(1, flat.num_params), torch.empty(1, flat.num_buffers)
    executor = Executor(flat.model, PLAIN, hyper)
    executor.train([Task(data, batches(50, hyper, 7, 3, 1))], flat.params, flat.buffers, deltas, statistics)
    assert torch.equal(flat.params, before)
    flat.params += deltas[0]

    model = build_model("cnn", 10, 0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=decay)
    steps = 0
    for index in batches(50, hyper, 7, 3, 1):
        pixels = (data.images[index].float() / 255 - 0.5) / 0.25
        optimizer.zero_grad()
        F.cross_entropy(model(pixels), data.labels[index]).backward()
        optimizer.step()
        steps += 1
    assert steps == 2 * 4  # 50 = 16 + 16 + 16 + 2: the ragged batch counts
    for (name, p), q in zip(flat.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=2e-5, msg=name)


def test_batches_cover_every_image_once_an_epoch() -> None:
    hyper = Hyper(3, 8, 0.1, 0.9, 0.0)
    drawn = torch.cat(list(batches(20, hyper, 0, 1, 2))).view(3, 20)
    assert all(torch.equal(epoch.sort().values, torch.arange(20)) for epoch in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], next(iter(torch.cat(list(batches(20, hyper, 0, 1, 3))).view(3, 20))))


def _spec(**settings: object) -> CellSpec:
    base: dict[str, object] = {"dataset": "digits", "model": "cnn", "clients": 20, "clients_per_round": 10}
    return CellSpec(**{**base, **settings})  # type: ignore[arg-type]


def test_sampling_is_the_same_for_every_attack_and_defense() -> None:
    one, other = _spec(), _spec(attack="dba", defense="krum", poison_ratio=0.5)
    assert [sample_clients(one, r) for r in range(5)] == [sample_clients(other, r) for r in range(5)]
    assert sample_clients(one, 1) != sample_clients(one, 2)
    assert malicious_clients(one) != malicious_clients(_spec(seed=1))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.01, 0), (0.2, 2), (0.3, 3), (1.0, 10)])
def test_fixed_sampling_holds_the_malicious_share(share: float, expected: int) -> None:
    spec = _spec(malicious=share, attack="none")
    bad = set(malicious_clients(spec))
    for round_ in range(1, 30):
        sampled = sample_clients(spec, round_)
        assert len(sampled) == len(set(sampled)) == 10
        assert len(bad & set(sampled)) == expected


def test_random_sampling_varies_the_malicious_share() -> None:
    spec = _spec(malicious_sampling="random")
    bad = set(malicious_clients(spec))
    assert len({len(bad & set(sample_clients(spec, r))) for r in range(30)}) > 2


def _federation(spec: CellSpec, model: str = "cnn") -> Federation:
    clients = [_images(12, seed=c) for c in range(spec.clients)]
    hyper = Hyper(1, 8, 0.05, 0.9, 0.0)
    executor = Executor(build_model(model, 10, 0), PLAIN, hyper)
    return Federation(spec, clients, malicious_clients(spec), PLAIN, hyper, executor)


def _badnets(**context: object) -> Attack:
    return create_attack(choose("attack", "badnets"), AttackContext(5, 10, (3, 32, 32), **context))  # type: ignore[arg-type]


def test_rows_are_the_clients_own_updates() -> None:
    spec = _spec(clients=6, clients_per_round=4)
    federation, flat = _federation(spec, "resnet18"), FlatModel(build_model("resnet18", 10, 0))
    start, statistics = flat.params.clone(), flat.buffers.clone()
    updates = federation.train(flat, 1, (0, 1, 3, 5), None)
    assert torch.equal(flat.params, start)
    assert torch.equal(flat.buffers, statistics)
    for i in range(4):
        for j in range(i):
            assert not torch.equal(updates.deltas[i], updates.deltas[j])  # no aliasing
            assert not torch.equal(updates.buffers[i], updates.buffers[j])
    alone = federation.train(flat, 1, (3,), None)
    assert torch.equal(alone.deltas[0], updates.deltas[2])  # a client does not depend on who else is sampled


def test_only_malicious_clients_are_poisoned_and_scaled() -> None:
    spec = _spec(clients=6, clients_per_round=6, malicious=0.34, attack_scale=3.0)
    federation, flat = _federation(spec), FlatModel(build_model("cnn", 10, 0))
    everyone, bad = tuple(range(6)), malicious_clients(spec)
    assert len(bad) == 2
    clean = federation.train(flat, 1, everyone, None).deltas
    attack = _badnets()
    poisoned = federation.train(flat, 1, everyone, attack)
    before = poisoned.deltas.clone()
    federation.craft(poisoned, flat, 1, attack)
    for client in everyone:
        assert torch.equal(before[client], clean[client]) == (client not in bad)
        factor = 3.0 if client in bad else 1.0
        torch.testing.assert_close(poisoned.deltas[client], before[client] * factor)


def test_crafting_holds_the_malicious_rows_once() -> None:
    spec = _spec(clients=10, clients_per_round=10, malicious=0.4, attack_scale=3.0)
    federation, flat = _federation(spec), FlatModel(build_model("cnn", 10, 0))
    rows = torch.ones(10, flat.num_params)
    updates = replace(_updates(rows), global_params=flat.params)
    with Held(rows, flat.params) as held:
        federation.craft(updates, flat, 1, _badnets())
    assert rows[:, 0].tolist() == [3.0 if client in federation.malicious else 1.0 for client in range(10)]
    assert 4 <= held.peak / (4 * flat.num_params) < 5.5, "four, and one that is scaled"


def _updates(deltas: Tensor) -> ClientUpdates:
    count = len(deltas)
    sizes = torch.ones(count, dtype=torch.float64)
    return ClientUpdates(
        deltas, torch.zeros(count, 0), sizes, tuple(range(count)), torch.zeros(deltas.shape[1]), torch.zeros(0)
    )


def test_non_finite_updates_are_dropped_and_counted() -> None:
    deltas = torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [3.0, 4.0], [0.0, float("-inf")]])
    defense = create_defense(choose("defense", "fedavg"), ServerContext(10, (), (0, 0, 0), (1, 1, 1)))
    result, judged = aggregate_updates(defense, _updates(deltas), RoundContext(1))
    assert judged == (0, 2)
    assert result.delta.tolist() == [2.0, 3.0]
    assert result.kept is None, "a mean does not select, whatever was dropped before it"


def test_what_is_dropped_is_no_detection() -> None:
    """Krum keeps one of the three finite updates; clients 1 and 4, malicious and benign, were never judged."""
    deltas = torch.tensor([[1.0, 1.0], [float("nan"), 0.0], [1.1, 1.0], [9.0, 9.0], [0.0, float("inf")]])
    defense = create_defense(choose("defense", "krum"), ServerContext(10, (), (0, 0, 0), (1, 1, 1)))
    result, judged = aggregate_updates(defense, _updates(deltas), RoundContext(1))
    assert judged == (0, 2, 3)
    assert detection(result.kept, judged, (1, 3)) == (1.0, 0.5)
    tpr, fpr = detection(result.kept, judged, (1,))
    assert math.isnan(tpr), "no malicious update was before the defense"
    assert fpr == pytest.approx(2 / 3)


def test_finite_rows_whose_sum_overflows_are_kept() -> None:
    deltas = torch.tensor([[3e38, 3e38], [0.0, 0.0]])
    defense = create_defense(choose("defense", "fedavg"), ServerContext(10, (), (0, 0, 0), (1, 1, 1)))
    assert aggregate_updates(defense, _updates(deltas), RoundContext(1))[1] == (0, 1)


def test_nothing_finite_leaves_the_model_alone() -> None:
    defense = create_defense(choose("defense", "krum"), ServerContext(10, (), (0, 0, 0), (1, 1, 1)))
    result, judged = aggregate_updates(defense, _updates(torch.full((3, 2), float("nan"))), RoundContext(1))
    assert judged == ()
    assert all(math.isnan(rate) for rate in detection(result.kept, judged, (1,)))
    assert result.delta.tolist() == [0.0, 0.0]


def test_detection_by_hand() -> None:
    kept = torch.tensor([True, False, False, True])
    assert detection(kept, (1, 4, 6, 9), (4, 9)) == (0.5, 0.5)
    tpr, fpr = detection(kept, (1, 4, 6, 9), ())
    assert math.isnan(tpr)
    assert fpr == 0.5
    assert all(math.isnan(v) for v in detection(None, (1,), (1,)))


class _Brightness(nn.Module):
    """Calls an image class 5 when its corner is white, else class 1."""

    def forward(self, images: Tensor) -> Tensor:
        white = images[:, 0, 31, 31] > 1.9
        logits = torch.zeros(len(images), 10)
        logits[:, 1] = 1.0
        logits[white, 5] = 2.0
        return logits


def test_asr_leaves_out_the_target_class() -> None:
    images = Images(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.tensor([1, 1, 5, 5, 5, 2]))
    sets = make_test_sets(images, _badnets(), PLAIN)
    assert len(sets.triggered) == 3
    assert evaluate(_Brightness(), sets) == {"mta": pytest.approx(2 / 6), "asr": 1.0, "asr_clean": 0.0}
    only_target = images.take(torch.tensor([2, 3]))
    sets = make_test_sets(only_target, _badnets(), PLAIN)
    assert math.isnan(evaluate(_Brightness(), sets)["asr"])


def test_final_figures_by_hand() -> None:
    log = Log("cpu")
    log.evaluation(0, {"mta": 0.1, "asr": 0.0})
    for round_, (mta, asr) in enumerate([(0.2, 0.9), (0.5, 0.3), (0.6, 0.5)], start=18):
        log.selection(1.0 if round_ > 18 else math.nan, 0.5, 1, {"clip": float(round_)})
        log.evaluation(round_, {"mta": mta, "asr": asr})
    final = log.final(20)  # the last 10 % are the rounds after 18
    assert (final["mta"], final["asr"], final["asr_max"], final["mta_start"]) == (0.6, 0.5, 0.9, 0.1)
    assert final["mta_tail"] == pytest.approx(0.55)
    assert final["asr_tail"] == pytest.approx(0.4)
    assert (final["tpr"], final["fpr"], final["dropped"]) == (1.0, 0.5, 3)
    assert [row.get("info_clip") for row in log.rows] == [None, 18.0, 19.0, 20.0]


def test_weighted_mean_by_hand() -> None:
    updates = _updates(torch.tensor([[0.0], [4.0]]))
    result: Aggregate = updates.mean(torch.tensor([3.0, 1.0]))
    assert result.delta.tolist() == [1.0]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("shape", [(5, 3, 32, 32), (2, 3, 1, 1), (0, 3, 32, 32), (3, 3, 4, 7)])
def test_images_are_taken_and_normalized_to_the_bit(layout: torch.memory_format, shape: tuple[int, ...]) -> None:
    stream = torch.Generator().manual_seed(0)
    data = torch.randint(0, 256, shape, generator=stream, dtype=torch.uint8).contiguous(memory_format=layout)
    index = torch.randperm(shape[0], generator=stream)[:4]
    taken = Images(data, torch.arange(shape[0])).take(index)
    assert torch.equal(taken.images, data[index])
    assert torch.equal(taken.labels, index)
    normalize = Normalizer((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    pixels = normalize.pixels(taken.images).contiguous(memory_format=layout)
    before = pixels.clone()
    result = normalize(pixels)
    assert torch.equal(result, (pixels - normalize.mean) / normalize.std)
    assert torch.equal(pixels, before)
    assert result.is_contiguous(memory_format=torch.channels_last)
