"""Attacks and rates are what they are called: shares hold, no attack is empty, and no broken model has a number."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from makers.frames import cell as row
from makers.frames import frame
from makers.images import random_images
from makers.specs import cell, environment, small_cell
from miniature import miniature
from rich.console import Console
from torch import nn

from clipfed_bench import report
from clipfed_bench.api import Attack, AttackContext
from clipfed_bench.components.registry import choose, create_attack
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Progress
from clipfed_bench.core.shares import carried, nearest, part
from clipfed_bench.models.build import build_model
from clipfed_bench.models.flat import FlatModel
from clipfed_bench.report.formats.terminal import screen
from clipfed_bench.report.page.html import render
from clipfed_bench.report.tables.table import table
from clipfed_bench.simulator.cell import run_cell
from clipfed_bench.simulator.evaluate import TestSets, evaluate
from clipfed_bench.simulator.federation import Federation
from clipfed_bench.simulator.local import Hyper, train_batches
from clipfed_bench.simulator.sampling import held_back, malicious_clients, poisoned_counts, sample_clients
from clipfed_bench.simulator.training import Training
from clipfed_bench.simulator.warmup import run_warmup
from clipfed_bench.toolbox.images import Normalizer

PLAIN = Normalizer((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.33, 0.35, 0.45)


def test_shares_are_exact_and_what_is_left_over_is_carried() -> None:
    assert [part(0.29, 100), part(1e-5, 100_000), part(0.15, 10)] == [29, 1, Fraction(3, 2)]
    assert [nearest(share, 10) for share in (0.04, 0.05, 0.25, 0.34)] == [0, 1, 3, 3]
    thirds = [Fraction(1, 3)] * 6
    assert list(carried(thirds, Fraction(0))) == [0, 0, 1, 0, 0, 1]
    assert list(carried([Fraction(3), *thirds], Fraction(2, 3))) == [3, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("ratio", [0.001, 0.03, 0.1, 0.29, 0.5, 0.77, 0.999])
def test_the_share_of_poisoned_images_holds_short_batches_included(ratio: float) -> None:
    spec, sizes = cell(poison_ratio=ratio), [32, 32, 5] * 2
    drawn = [list(poisoned_counts(spec, r, c, sizes)) for r in range(1, 101) for c in range(20)]
    for each, size in enumerate(sizes):  # of each batch, not only of all together
        counts, whole = [counts[each] for counts in drawn], part(ratio, size)
        assert set(counts) <= {math.floor(whole), math.ceil(whole)}
        assert sum(counts) / len(counts) == pytest.approx(float(whole), abs=0.05)
    assert all(abs(sum(counts) - part(ratio, sum(sizes))) < 1 for counts in drawn)
    other = replace(spec, attack=choose("attack", "dba"), defense=choose("defense", "krum"))
    assert [list(poisoned_counts(other, 1, c, sizes)) for c in range(20)] == drawn[:20], "alike for all methods"
    if ratio < 0.999:
        assert [list(poisoned_counts(replace(spec, seed=1), 1, c, sizes)) for c in range(20)] != drawn[:20]


@pytest.mark.parametrize(("ratio", "sizes"), [(0.5, [32, 8]), (0.25, [64, 4]), (0.1, [10, 30]), (1.0, [7, 3])])
def test_whole_numbers_of_poisoned_images_are_those_of_the_lineage(ratio: float, sizes: list[int]) -> None:
    for round_ in range(1, 50):
        drawn = [list(poisoned_counts(cell(poison_ratio=ratio, poison_rounding=rounding), round_, 3, sizes))
                 for rounding in ("stochastic", "down")]  # fmt: skip
        assert drawn[0] == drawn[1] == [int(ratio * size) for size in sizes]


def test_the_rule_of_the_lineage_is_an_option_and_marked() -> None:
    spec = cell(poison_ratio=0.3, poison_rounding="down", batch_size=32)
    assert list(poisoned_counts(spec, 1, 0, [32, 32, 3])) == [9, 9, 0]
    field = CellSpec.__dataclass_fields__["poison_rounding"]
    assert "down, int(ratio * batch) [lineage]" in field.metadata["help"]
    assert spec.key != cell(poison_ratio=0.3, batch_size=32).key


class Tasks:
    """An executor that only takes notice of what is to be trained."""

    def train(self, tasks: Any, params: Any, buffers: Any, deltas: Any, statistics: Any) -> None:
        self.tasks = tasks


def federation(spec: CellSpec, images: int = 21, label: int | None = None) -> Federation:
    labels = None if label is None else torch.full((images,), label)
    clients = [random_images(images, seed=c, labels=labels) for c in range(spec.clients)]
    return Federation(spec, clients, malicious_clients(spec), PLAIN, Hyper.of(spec), Tasks())  # type: ignore[arg-type]


def attack_of(spec: CellSpec) -> Attack:
    return create_attack(spec.attack, AttackContext(spec.target, 10, (3, 32, 32), spec.poison_ratio, spec.seed))


@pytest.mark.parametrize("attack", ["badnets", "dba", "neurotoxin[trigger=badnets]", "layer"])
def test_clients_train_on_as_many_poisoned_images_as_were_drawn(attack: str) -> None:
    spec = small_cell(attack=attack, poison_ratio=0.13, malicious=0.4, local_epochs=3, target=9)
    made, own, flat = federation(spec, label=2), attack_of(spec), FlatModel(build_model("cnn", 10, 0))
    images = 21 - held_back(own.held_out, 21)
    for round_ in (1, 2):
        made.train(flat, round_, tuple(range(10)), own)
        for client, task in enumerate(made.executor.tasks):  # type: ignore[attr-defined]
            batches = list(train_batches(task, PLAIN))
            poisoned = [int((labels == 9).sum()) for _, labels in batches]
            if client not in made.malicious:
                assert sum(poisoned) == 0
                continue
            sizes = [len(labels) for _, labels in batches]
            assert sum(sizes) == 3 * images
            assert poisoned == list(poisoned_counts(spec, round_, client, sizes))
            assert abs(sum(poisoned) - part(0.13, 3 * images)) < 1


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_malicious_share_holds_over_any_rounds(share: float, seed: int) -> None:
    spec = cell(clients=100, clients_per_round=10, malicious=share, seed=seed)
    bad, wanted = set(malicious_clients(spec)), part(share, 10)
    assert len(bad) == round(100 * share)
    counts = [len(bad & set(sample_clients(spec, r))) for r in range(1, 401)]
    assert set(counts) == {math.floor(wanted), math.ceil(wanted)}
    for first in (0, 7, 390):
        assert all(abs(sum(counts[first:last]) - wanted * (last - first)) < 1 for last in range(first + 1, 401, 13))
    assert counts == [len(bad & set(sample_clients(replace(spec, defense=choose("defense", "krum")), r)))
                      for r in range(1, 401)]  # fmt: skip
    if wanted.denominator > 2:
        other = replace(spec, seed=seed + 2)
        assert counts != [len(set(malicious_clients(other)) & set(sample_clients(other, r))) for r in range(1, 401)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"poison_ratio": 1e-6}, r"poison_ratio: 1e-06 \(stochastic\) of batches of at most 16 poisons no image in"),
        ({"poison_ratio": 0.07, "poison_rounding": "down", "batch_size": 64}, r"0.07 \(down\) of batches of at most"),
        ({"attack": "blend[ratio=0]"}, r"blend\[ratio=0\]: its trigger leaves images as they are"),
        ({"attack": "layer", "target": 3}, "layer: of the share 0.25 of images .* of another class than target 3"),
    ],
)
def test_a_cell_that_would_poison_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    """The clients' images are too few, or of the wrong class, which is not known before data are read."""
    spec = small_cell(**settings)
    made = federation(spec, images=12, label=3 if spec.attack.name == "layer" else None)
    with pytest.raises(UserError, match=message):
        made.refuse_nothing(attack_of(spec))


@pytest.mark.parametrize("sampling", ["fixed", "random"])
def test_a_cell_in_which_no_attacker_is_drawn_is_refused(sampling: str) -> None:
    cells = [small_cell(malicious=0.1, clients_per_round=1, rounds=1, malicious_sampling=sampling, seed=s)
             for s in range(40)]  # fmt: skip
    refused = 0
    for spec in cells:
        if set(malicious_clients(spec)) & set(sample_clients(spec, 1)):
            federation(spec).refuse_nothing(attack_of(spec))
        else:
            refused += 1
            with pytest.raises(UserError, match=r"malicious: 0\.1 of 1 clients a round is nobody in"):
                federation(spec).refuse_nothing(attack_of(spec))
    assert 20 < refused < 40


def test_refusals_know_the_rounds_of_the_attack() -> None:
    spec = small_cell(malicious=0.1, clients_per_round=1, rounds=10)
    attacked = [r for r in range(1, 11) if set(malicious_clients(spec)) & set(sample_clients(spec, r))]
    assert len(attacked) == 1
    federation(spec).refuse_nothing(attack_of(spec))
    for start, stop in ((attacked[0] + 1, 10), (1, attacked[0] - 1)):
        if start <= stop:
            with pytest.raises(UserError, match=f"in the attacked rounds, {start} to {stop}"):
                federation(replace(spec, attack_start=start, attack_stop=stop)).refuse_nothing(attack_of(spec))


def test_a_share_rounded_down_to_nothing_is_kept_back_all_the_same() -> None:
    assert [held_back(0.25, n) for n in (1, 2, 3, 4, 10, 100)] == [0, 1, 1, 1, 2, 25]
    assert [held_back(0.0, n) for n in (1, 100)] == [0, 0]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with miniature(evaluate, train=2, test=9):
        yield environment(tmp_path_factory.mktemp("env"), "cache", "warmup")


@pytest.mark.parametrize("ratio", [0.03, 0.02])
def test_a_small_share_is_an_attack(env: Any, ratio: float) -> None:
    """Less than one image of a batch: it used to be, to the bit, the cell without an attack."""
    settings: dict[str, Any] = {"rounds": 3, "batch_size": 32}
    clean, attacked = (run_cell(small_cell(attack=a, poison_ratio=ratio, **settings), env) for a in ("none", "badnets"))
    assert clean.history[0]["mta"] == attacked.history[0]["mta"]
    assert [clean.final[name] for name in ("mta", "asr")] != [attacked.final[name] for name in ("mta", "asr")]


def test_attackers_are_recorded(env: Any) -> None:
    spec = small_cell(malicious=0.3, rounds=4, eval_every=1, attack_start=2, defense="krum")
    expected = [len(set(malicious_clients(spec)) & set(sample_clients(spec, r))) for r in range(1, 5)]
    result = run_cell(spec, env)
    found = [entry["attackers"] for entry in result.history]
    assert all(map(math.isnan, found[:2])), "before the attack nobody is an attacker"
    assert found[2:] == expected[1:]
    assert result.final["attackers"] == pytest.approx(sum(expected[1:]) / 3)
    clean = run_cell(small_cell(attack="none", rounds=1, defense="krum"), env).final
    assert math.isnan(clean["attackers"])
    assert math.isnan(clean["tpr"]), "nobody is malicious in a clean run"
    assert clean["fpr"] == 0.8


def test_training_that_diverges_is_no_result(env: Any) -> None:
    for settings in ({"lr": 1e30, "defense": "median"}, {"lr": 1e6, "attack": "none"}):
        with pytest.raises(UserError, match=r"training has diverged: in round 1 not one of 5 updates was finite"):
            run_cell(small_cell(rounds=1, **settings), env)
    with pytest.raises(UserError, match=r"training has diverged: in warm-up round 1 not one of 5 updates was finite"):
        run_warmup(small_cell(lr=1e6, warmup_rounds=1), env)


def test_a_model_that_aggregation_or_purification_breaks_is_no_result(
    env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Training.play

    def broken(training: Training, attack: Attack | None) -> None:
        play(training, attack)
        training.flat.params[0] = math.nan

    monkeypatch.setattr(Training, "play", broken)
    with pytest.raises(UserError, match="after round 1 the global model is not finite, though clients' updates were"):
        run_cell(small_cell(rounds=1), env)


def test_outputs_that_are_not_finite_are_no_class() -> None:
    class Overflow(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.new_full((len(images), 10), math.inf)

    images = torch.zeros(3, 3, 32, 32)
    with pytest.raises(UserError, match="the model's outputs for test images are not finite"):
        evaluate(Overflow(), TestSets(images, torch.zeros(3, dtype=torch.int64), images, target=0))


def test_an_upload_that_overflows_is_dropped_said_and_detected_by_nobody(env: Any) -> None:
    for defense in ("fedavg", "krum"):
        reports: list[Progress] = []
        spec = small_cell(attack_scale=1e39, malicious=0.4, rounds=2, defense=defense)
        result = run_cell(spec, env, reports.append)
        assert (result.final["dropped"], result.final["attackers"]) == (4, 0)
        assert math.isnan(result.final["tpr"])
        assert math.isnan(result.final["fpr"]) == (defense == "fedavg")
        assert [report.dropped for report in reports] == [0, 2, 4]


def test_every_table_and_the_page_say_what_was_dropped_and_how_many_attackers_there_were() -> None:
    settings: dict[str, Any] = {"clients": 20, "rounds": 10}
    rows = [row(malicious=0.25, defense=d, seed=s, **settings) for d in ("fedavg", "krum") for s in (0, 1)]
    measured = [{"dropped": 40.0 * (own["defense"] == "krum"), "attackers": 2.5 - own["seed"] / 4} for own in rows]
    rows.append(row(malicious=0.33, **settings))
    measured.append({"dropped": 0.0, "attackers": 3.3})
    results = frame(*(own | figures for own, figures in zip(rows, measured, strict=True)))
    dropped = "Not finite, and dropped before the defense: 80 of 200 updates in 2 of 5 cells (badnets and krum)"
    attackers = (
        "Attackers, whose updates were finite: 5 of 20 clients, 2.25 to 2.50 of 10; 7 of 20 clients (33 % are 6.6), "
    )
    attackers += "3.30 of 10 a round on average."
    made = report.sheet(results)
    console = Console(file=io.StringIO(), width=300)
    console.print(screen(made))
    texts = [report.formats.render(made, "markdown"), console.file.getvalue()]  # type: ignore[attr-defined]
    texts += [render("run", results, results.iloc[:0]), report.formats.render(made, "latex").replace(r"\%", "%")]
    for text in texts:
        assert dropped in text
        assert attackers in text
    assert not [note for note in table(results.drop(columns=["dropped", "attackers"])).notes if "ropped" in note]
