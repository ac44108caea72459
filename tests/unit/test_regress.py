"""A run against a reference: what must be equal, what may differ by how much, and what counts as a regression."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.report.regression.compare import compare_with
from clipfed_bench.report.regression.reference import FIGURES, read_reference, write_reference
from clipfed_bench.report.regression.verdict import describe
from clipfed_bench.runs.frames import results_frame

HERE = {
    "device": "cpu",
    "machine": "x86_64",
    "cpu_id": "AuthenticAMD 25 17 1",
    "cpu_capability": "AVX512",
    "version_torch": "2.15.0",
    "version_torchvision": "0.30",
    "version_open_clip_torch": "3.3",
    "git_sha": "a" * 40,
    "version_scikit_learn": "1.9",
    "version_hdbscan": "0.8",
    "version_numpy": "2.4",
    "version_scipy": "1.17",
    "version_clipfed_bench": "0.1.0",
    "platform": "Linux",
}
ELSEWHERE = HERE | {"cpu_id": "GenuineIntel 6 143 8", "cpu_capability": "AVX2"}


@pytest.fixture
def runs():
    """Makes frames as a run folder would give them: cells from (attack, defense, seed) -> figures, or an error."""

    def make(cells, facts=HERE, **settings):
        payloads = []
        for (attack, defense, seed), figures in cells.items():
            spec = CellSpec(attack=attack, defense=defense, seed=seed, **settings)
            names = {"attack_name": spec.attack.name, "defense_name": spec.defense.name}
            payload = {"key": spec.key, "created": "", "spec": spec.as_dict() | names, "provenance": facts}
            if isinstance(figures, str):
                payload |= {"status": "failed", "error": figures}
            else:
                known = {name: None if math.isnan(value) else value for name, value in figures.items()}
                payload |= {"status": "done", "final": known}
            payloads.append(payload)
        return results_frame(payloads)

    return make


@pytest.fixture
def reference(tmp_path):
    """Writes a frame as a reference and reads it back."""

    def make(frame, reason="For the test."):
        write_reference(tmp_path / "deep" / "reference.parquet", frame, reason)
        return read_reference(tmp_path / "deep" / "reference.parquet")

    return make


def figures(mta, asr, **more):
    return {
        "mta": mta,
        "asr": asr,
        "tpr": float("nan"),
        "fpr": float("nan"),
        "dropped": 0.0,
        "seconds_local": 1.0,
    } | more


CELLS = {
    ("badnets", "krum", 0): figures(0.60, 0.00, tpr=1.0, fpr=0.875),
    ("badnets", "krum", 1): figures(0.70, 0.00, tpr=1.0, fpr=0.875),
    ("badnets", "krum", 2): figures(0.80, 0.00, tpr=0.5, fpr=0.875),
    **{("badnets", "fedavg", seed): figures(0.95, 0.90 + seed / 100) for seed in range(3)},
}
"""Krum's MTA has a standard deviation of 0.1 over seeds, its TPR of 0.2887; FedAvg's MTA none."""


def moved(comparison):
    return [(m.cell["defense"], m.cell["seed"], m.figure) for m in comparison.moves]


def test_the_same_numbers_pass_and_times_do_not_count(runs, reference):
    again = {place: found | {"seconds_local": 99.0} for place, found in CELLS.items()}
    found = compare_with(reference(runs(CELLS)), runs(again))
    assert found.passed
    assert (found.compared, found.exact, found.within, found.rekeyed) == (6, 6, 0, 0)
    assert not found.platforms
    assert not any(name.startswith("seconds") for name in FIGURES)


def test_on_the_same_platform_the_last_bit_counts(runs, reference):
    other = CELLS | {("badnets", "krum", 1): CELLS["badnets", "krum", 1] | {"mta": 0.7000000000000001}}
    found = compare_with(reference(runs(CELLS)), runs(other))
    assert not found.passed
    assert moved(found) == [("krum", 1, "mta")]
    assert found.moves[0].tolerance == 0
    assert found.moves[0].distance == pytest.approx(1.1e-16, rel=0.1)


@pytest.mark.parametrize(
    ("figure", "defense", "seed", "value", "passes"),
    [
        ("mta", "krum", 0, 0.60 + 0.299, True),  # 3 × 0.1
        ("mta", "krum", 0, 0.60 + 0.301, False),
        ("mta", "fedavg", 0, 0.95 - 0.029, True),  # the floor, 0.03
        ("mta", "fedavg", 0, 0.95 - 0.031, False),
        ("asr", "fedavg", 2, 0.92 - 0.031, False),  # 3 × 0.01 is just the floor
        ("tpr", "krum", 2, 0.5 - 0.5, True),  # 3 × 0.2887
        ("fpr", "krum", 1, 0.875 - 0.25, True),  # the floor of detection rates
        ("fpr", "krum", 1, 0.875 - 0.251, False),
        ("dropped", "krum", 1, 1.0, False),  # no tolerance
        ("tpr", "krum", 1, float("nan"), False),  # undefined now
        ("tpr", "fedavg", 1, 0.0, False),  # undefined before
    ],
)
def test_on_another_platform_seeds_say_how_much_is_too_much(runs, reference, figure, defense, seed, value, passes):
    place = ("badnets", defense, seed)
    other = CELLS | {place: CELLS[place] | {figure: value}}
    found = compare_with(reference(runs(CELLS)), runs(other, ELSEWHERE))
    assert (found.exact, found.compared) == (0, 6)
    assert moved(found) == ([] if passes else [(defense, seed, figure)])
    assert found.passed is passes
    assert found.within == (1 if passes else 0)


def test_undefined_on_both_sides_is_equal(runs, reference):
    nothing = {("badnets", "median", seed): figures(0.5, 0.5) for seed in range(3)}
    assert compare_with(reference(runs(nothing)), runs(nothing)).passed
    assert compare_with(reference(runs(nothing)), runs(nothing, ELSEWHERE)).passed


def test_what_an_older_version_did_not_measure_has_not_moved(runs, reference):
    clean, other = ({place: found | {"asr_clean": c} for place, found in CELLS.items()} for c in (0.0025, 0.0026))
    assert all(compare_with(reference(runs(a)), runs(b)).passed for a, b in ((CELLS, clean), (clean, CELLS)))
    assert {figure for _, _, figure in moved(compare_with(reference(runs(clean)), runs(other)))} == {"asr_clean"}


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (HERE | {"version_torch": "2.16.0"}, "torch 2.15.0, now 2.16.0"),
        (HERE | {"machine": "aarch64"}, "machine x86_64, now aarch64"),
        (HERE | {"cpu_capability": "unknown"}, "cpu_capability AVX512, now unknown"),
        (HERE | {"device": "cuda"}, "device cpu, now cuda"),
        (HERE | {"precision": "bfloat16"}, "precision float32, now bfloat16"),
        (HERE | {"kernels": "numba 0.68.1"}, "kernels torch, now numba 0.68.1"),
        ({name: fact for name, fact in HERE.items() if name != "cpu_id"}, "cpu_id AuthenticAMD 25 17 1, now unknown"),
    ],
)
def test_what_makes_another_platform(runs, reference, facts, reason):
    known = reference(runs(CELLS))
    found = compare_with(known, runs(CELLS, facts))
    assert (found.passed, found.exact, found.platforms) == (True, 0, (reason,))
    assert any(reason in line for line in describe(known, found, ["b" * 40]).lines)


def test_a_gpu_is_never_compared_exactly(runs, reference):
    cuda = HERE | {"device": "cuda"}
    found = compare_with(reference(runs(CELLS, cuda)), runs(CELLS, cuda))
    assert found.exact == 0
    assert "no fixed order" in found.platforms[0]


def test_the_source_and_the_kernel_of_the_system_make_no_other_platform(runs, reference):
    other = HERE | {"git_sha": "b" * 40, "platform": "Linux-7", "version_clipfed_bench": "9.9", "precision": "float32"}
    assert compare_with(reference(runs(CELLS)), runs(CELLS, other)).exact == 6


def test_cells_of_a_run_may_come_from_several_machines(runs, reference):
    one = {place: found for place, found in CELLS.items() if place[1] == "krum"}
    two = {place: found for place, found in CELLS.items() if place[1] != "krum"}
    found = compare_with(reference(runs(CELLS)), pd.concat([runs(one), runs(two, ELSEWHERE)], ignore_index=True))
    assert (found.compared, found.exact, found.passed) == (6, 3, True)


def test_missing_failed_and_new_cells(runs, reference):
    run = dict(CELLS)
    del run["badnets", "krum", 2]
    run["badnets", "fedavg", 1] = "out of memory"
    run["badnets", "flame", 0] = figures(0.9, 0.1)
    run["dba", "flame", 0] = "not in the reference, but it failed"
    found = compare_with(reference(runs(CELLS)), runs(run))
    assert [(c["defense"], c["seed"]) for c in found.missing] == [("krum", 2)]
    assert sorted((c["attack"], c["defense"]) for c in found.failed) == [("badnets", "fedavg"), ("dba", "flame")]
    assert [(c["defense"], c["seed"]) for c in found.new] == [("flame", 0)]
    assert (found.compared, found.moves, found.passed) == (4, (), False)


@pytest.mark.parametrize("change", ["missing", "failed", "new"])
def test_new_cells_alone_are_no_regression(runs, reference, change):
    run = dict(CELLS)
    if change == "missing":
        del run["badnets", "krum", 2]
    else:
        run["dba", "fedavg", 0] = "failed" if change == "failed" else figures(0.9, 0.9)
    assert compare_with(reference(runs(CELLS)), runs(run)).passed is (change == "new")


def test_cells_are_matched_by_settings_not_by_their_keys(runs, reference):
    frame = runs(CELLS)
    found = compare_with(reference(frame.assign(key=[f"{i:016x}" for i in range(6)])), frame)
    assert (found.compared, found.rekeyed, found.passed) == (6, 6, True)
    assert not found.missing


def test_a_setting_that_the_reference_does_not_know(runs, reference):
    known = reference(runs(CELLS))
    without = [{name: value for name, value in cell.items() if name != "min_samples"} for cell in known.records]
    old = replace(known, records=tuple(without))
    assert compare_with(old, runs(CELLS)).passed
    twice = pd.concat([runs(CELLS), runs(CELLS, min_samples=20)], ignore_index=True)
    with pytest.raises(UserError, match=r"of the run have the same settings.*make a new reference"):
        compare_with(old, twice)
    with pytest.raises(UserError, match="of the reference have the same settings"):
        compare_with(replace(old, records=old.records * 2), runs(CELLS))
    unknown = {("dba", "flame", seed): figures(0.9, 0.1) for seed in (0, 1)}  # nothing of it is in the reference
    lines = describe(old, compare_with(old, runs(unknown)), ["b" * 40]).lines
    assert any("badnets krum seed 0, 1, 2" in line for line in lines), lines


def test_other_settings_are_other_cells(runs, reference):
    found = compare_with(reference(runs(CELLS)), runs(CELLS, rounds=7))
    assert (found.compared, len(found.missing), len(found.new), found.passed) == (0, 6, 6, False)


# --- what people read ---------------------------------------------------------------------------------------------


def test_what_moved_is_a_line_for_each_setting_and_figure(runs, reference):
    run = dict(CELLS)
    run["badnets", "krum", 0] = figures(0.61, 0.00, tpr=1.0, fpr=0.875)
    run["badnets", "krum", 1] = figures(0.60, 0.00, tpr=float("nan"), fpr=0.875)
    known = reference(runs(CELLS))
    verdict = describe(known, compare_with(known, runs(run)), ["b" * 40 + "-dirty", "a" * 40])
    assert verdict.headline == "Regression: 2 of 6 cells moved."
    assert (*verdict.moved.corner, *(head for (head,) in verdict.moved.heads)) == (
        *("attack", "defense", "figure", "seeds", "reference", "now", "moved", "allowed"),
    )
    assert verdict.moved.rows == (
        ("badnets", "krum", "MTA", "0, 1", "70.00", "60.00", "-10.00", "exact"),
        ("badnets", "krum", "TPR", "1", "100.00", "–", "–", "exact"),
    )
    assert verdict.lines[1] == "Run: source aaaaaaaaa, bbbbbbbbb-dirty."
    assert verdict.markdown.startswith("# Regression: 2 of 6 cells moved.\n\n**Moved too far")
    assert "- Reference of 20" in verdict.markdown


def test_cells_without_a_partner_are_listed_with_their_seeds(runs, reference):
    run = {place: found for place, found in CELLS.items() if place[1] != "krum"}
    run |= {("dba", "fedavg", seed): figures(0.9, 0.9) for seed in (0, 1)} | {("afa", "fedavg", 0): "no memory left"}
    known = reference(runs(CELLS))
    verdict = describe(known, compare_with(known, runs(run)), ["b" * 40])
    assert verdict.headline == "Regression: 3 cells as in the reference, 3 missing, 1 failed, 2 new."
    assert verdict.moved is None
    assert "Missing: badnets krum seed 0, 1, 2" in verdict.lines
    assert "New: dba fedavg seed 0, 1" in verdict.lines
    assert "Failed: afa fedavg seed 0" in verdict.lines
    assert "The first error: no memory left" in verdict.lines


def test_how_tolerances_come_about_is_said_where_they_are_used(runs, reference):
    known = reference(runs(CELLS))
    elsewhere = describe(known, compare_with(known, runs(CELLS, ELSEWHERE)), ["b" * 40])
    assert any(line.startswith("Tolerance: 3 sample standard deviations over the") for line in elsewhere.lines)
    assert not any("Tolerance" in line for line in describe(known, compare_with(known, runs(CELLS)), []).lines)
    lone = reference(runs({("badnets", "krum", 0): figures(0.6, 0.0)}))
    few = describe(lone, compare_with(lone, runs({("badnets", "krum", 0): figures(0.6, 0.0)}, ELSEWHERE)), [])
    assert any("Some settings have 1 seeds; 3 are needed" in line for line in few.lines)


# --- the file -----------------------------------------------------------------------------------------------------


def test_a_reference_says_why_when_and_with_what_it_was_made(runs, reference, tmp_path):
    known = reference(runs(CELLS), reason="Krum  counts\nits neighbors right.")
    assert known.reason == "Krum counts its neighbors right."
    assert known.created.startswith("20")
    assert known.git_sha == "a" * 40
    assert "source aaaaaaaaa: Krum counts" in known.text
    path = tmp_path / "deep" / "reference.parquet"
    facts = pq.read_schema(path).metadata[b"clipfed_bench_reference"].decode()
    assert '"version_torch": "2.15.0"' in facts
    assert not any(name.startswith("seconds") for name in pq.read_schema(path).names)
    assert [p.name for p in path.parent.iterdir()] == ["reference.parquet"]


def test_figures_survive_the_file_to_the_bit(runs, reference):
    odd = {("badnets", "krum", seed): figures(0.1 + 0.2 + seed, 1 / 3) for seed in range(3)}
    found = {record["seed"]: record for record in reference(runs(odd)).records}
    assert found[0]["mta"] == 0.1 + 0.2
    assert found[2]["asr"] == 1 / 3
    assert found[1]["tpr"] is None
    assert found[1]["attack_stop"] is None


def test_what_cannot_be_a_reference(runs, tmp_path):
    path = tmp_path / "r.parquet"
    with pytest.raises(UserError, match="--reason: a reference needs a reason"):
        write_reference(path, runs(CELLS), " ")
    with pytest.raises(UserError, match="1 of 7 cells failed; a reference needs all"):
        write_reference(path, runs(CELLS | {("dba", "krum", 0): "broken"}), "why")
    with pytest.raises(UserError, match="no cells"):
        write_reference(path, results_frame([]), "why")
    assert not path.exists()


def test_what_is_no_reference(runs, tmp_path):
    path = tmp_path / "r.parquet"
    with pytest.raises(UserError, match=r"there is no reference .*--update --reason TEXT"):
        read_reference(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="not a reference that this version can read"):
        read_reference(path)
    runs(CELLS).to_parquet(path)
    with pytest.raises(UserError, match="it does not say why and when"):
        read_reference(path)
    for facts, message in (('{"format": 2}', "its format is 2"), ("{}", "format"), ("[", "not a reference")):
        pq.write_table(pa.table({"key": ["a"]}, metadata={"clipfed_bench_reference": facts}), path)
        with pytest.raises(UserError, match=message):
            read_reference(path)
    facts = '{"format": 1, "reason": "", "created": "", "git_sha": ""}'
    pq.write_table(pa.table({"key": ["a"]}, metadata={"clipfed_bench_reference": facts}), path)
    with pytest.raises(UserError, match="no column attack, defense"):
        read_reference(path)


def test_what_cells_were_computed_from_is_compared_and_is_no_failure(runs, reference):
    before = HERE | {"digest_simulator": "s1", "digest_attack": "a1"}
    known = reference(runs(CELLS, before))
    assert known.records[0]["digest_attack"] == "a1"
    found = compare_with(known, runs(CELLS, before | {"digest_attack": "a2"}))
    assert found.passed
    assert found.changed == {"attack badnets": 6}
    assert "Changed since the reference: attack badnets (6 cells)." in describe(known, found, ()).lines
    assert not compare_with(known, runs(CELLS, before)).changed
    for one, two in ((HERE, before), (before, HERE)):
        assert not compare_with(reference(runs(CELLS, one)), runs(CELLS, two)).changed, "one of them does not know"
