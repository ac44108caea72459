"""A table says where its rows mean nothing: nothing was learned, or no backdoor, without a defense."""

from __future__ import annotations

from makers.frames import cell

from clipfed_bench.report.tables.doubts import doubts


def test_a_model_that_learned_and_an_attack_that_works_raise_no_doubt() -> None:
    assert list(doubts([cell(mta=0.6, asr=0.9), cell(defense="krum", mta=0.1, asr=0.0)])) == []


def test_chance_and_attacks_without_effect_are_said_by_setting() -> None:
    records = [
        *(cell(attack="badnets", alpha=0.1, seed=seed, mta=0.1, asr=1.0) for seed in (0, 1)),
        *(cell(attack="badnets", alpha=0.5, seed=seed, mta=0.6, asr=asr) for seed, asr in ((0, 0.55), (1, 0.41))),
        cell(attack="dba", alpha=0.5, mta=0.6, asr=0.5),
        cell(attack="none", alpha=0.5, mta=0.6, asr=0.1),
        cell(attack="blend", alpha=0.5, mta=0.6, asr=0.1) | {"status": "failed"},
    ]
    assert list(doubts(records)) == [
        "FedAvg has not learned more than chance, so other rows mean nothing: alpha 0.1, badnets (MTA 10.0).",
        "‡: the attack does not work without a defense (FedAvg's ASR is below 50 %), so rows say nothing of one: "
        "alpha 0.5, badnets (ASR 48.0).",
    ]
