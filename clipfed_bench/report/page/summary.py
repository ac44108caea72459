"""What was run, in words, from the results alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.config.words import counted
from clipfed_bench.core.values import show
from clipfed_bench.models.catalog import MODELS
from clipfed_bench.report.tables.axes import Record, sort_key

_PAPER = {"model": "ResNet-18", "clients": "100 clients", "rounds": "300 rounds", "teacher": "CLIP ViT-L/14 as teacher"}
"""Settings that make a run comparable with the paper's, and what they are there."""
_PAPER_TEACHER = "open_clip:ViT-L-14/openai"


def lead(records: Sequence[Record]) -> str:
    """``4 attacks × 4 defenses × 2 values of alpha × 2 seeds: 64 cells, all of them done.``"""
    axes = {"attack": "attack", "defense": "defense", "alpha": "value of alpha", "degree": "degree", "seed": "seed"}
    counts = ((len(_values(records, name)), word) for name, word in axes.items())
    shape = " × ".join(counted(count, word) for count, word in counts if count)
    failed = sum(record["status"] != "done" for record in records)
    done = "all of them done" if not failed else f"{len(records) - failed} done, {failed} failed"
    if len(records) == 1:
        done = "failed" if failed else "done"
    return f"{shape}: {counted(len(records), 'cell')}, {done}."


def what_was_run(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Terms and what they are in this run; several values of a setting stand side by side."""
    value = {name: _listed(records, name) for name in (f.name for f in fields(CellSpec))}
    malicious = ", ".join(f"{100 * share:g} %" for share in _values(records, "malicious"))
    warmup = "" if value["warmup_rounds"] == "0" else value["warmup_rounds"]
    tail = value["imbalance_factor"]
    pairs = [
        ("Data set", value["dataset"] + (f" (largest class {tail} times the smallest)" if tail else "")),
        (
            "Partition",
            _phrases(("{}", value["partition"]), ("alpha {}", value["alpha"]), ("degree {}", value["degree"])),
        ),
        ("Model", "; ".join(MODELS.get(name, name) for name in _values(records, "model"))),
        (
            "Clients",
            _phrases(
                ("{}", value["clients"]),
                ("{} of them in each round", value["clients_per_round"]),
                ("{} malicious", malicious),
            ),
        ),
        (
            "Rounds",
            _phrases(
                ("{}", value["rounds"]),
                ("after {} clean warm-up rounds", warmup),
                ("evaluated every {}", value["eval_every"]),
            ),
        ),
        (
            "Local training",
            _phrases(
                ("epochs {}", value["local_epochs"]), ("batch size {}", value["batch_size"]), ("lr {}", value["lr"])
            ),
        ),
        ("Attacks", f"{value['attack']}; target class {value['target']}{_attack(value)}"),
        ("Defenses", value["defense"]),
        ("Teacher", _teacher(records)),
        ("Server data", _server(records)),
        ("Seeds", value["seed"]),
    ]
    return [(term, text) for term, text in pairs if text]


def caution(records: Sequence[Record]) -> str:
    """What keeps these numbers from being compared with the paper's; nothing where nothing does."""
    default = {f.name: f.default for f in fields(CellSpec)} | {"teacher": _PAPER_TEACHER}
    differing = [name for name in _PAPER if any(value != default[name] for value in _values(records, name))]
    if not differing:
        return ""
    *rest, last = differing
    names = f"{', '.join(rest)} and {last}" if rest else last
    setup = ", ".join(_PAPER.values())
    return f"Not the scale of the paper ({setup}): other {names}, so these numbers do not compare with its."


def _phrases(*parts: tuple[str, str]) -> str:
    """Each template with its text, without those whose text is empty."""
    return ", ".join(template.format(text) for template, text in parts if text)


def _attack(value: dict[str, str]) -> str:
    """What is out of the ordinary about the attacks."""
    parts = [f"malicious updates times {value['attack_scale']}"] if value["attack_scale"] not in ("", "1") else []
    if value["attack_start"] not in ("", "1") or value["attack_stop"]:
        parts.append(f"rounds {value['attack_start']} to {value['attack_stop'] or 'the last'}")
    return "".join(f"; {part}" for part in parts)


def _teacher(records: Sequence[Record]) -> str:
    found: dict[str, list[str]] = {}
    for record in records:
        if record["teacher"] is not None:
            accuracy, origin = record.get("teacher_held_out_accuracy"), record.get("teacher_trained_on")
            facts = [f"trained on {origin}"] if origin else []
            facts += [f"accuracy on held-out server images {accuracy}"] if accuracy else []
            name = show(record["teacher"]) + (f" ({', '.join(facts)})" if facts else "")
            found.setdefault(name, []).append(show(record["defense_name"]))
    if not found:
        return "none: no defense of this run needs one"
    return "; ".join(f"{name} for {', '.join(sorted(set(users)))}" for name, users in found.items())


def _server(records: Sequence[Record]) -> str:
    parts = []
    for name in _values(records, "server_data"):
        sizes = _values([record for record in records if record["server_data"] == name], "server_per_class")
        size = f", {', '.join(map(show, sizes))} images a class" if sizes else ""
        bound = " (real images that no client holds, an upper bound for generated ones)" if "holdout:" in name else ""
        parts.append(f"{name}{size}{bound}")
    return "; ".join(parts) or "none: no defense of this run needs any"


def _values(records: Iterable[Record], name: str) -> list[Any]:
    found = {record[name] for record in records if record[name] is not None}
    return sorted(found, key=lambda value: sort_key((name,))((value,)))


def _listed(records: Iterable[Record], name: str) -> str:
    return ", ".join(map(show, _values(records, name)))
