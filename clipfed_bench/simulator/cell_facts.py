"""Provenance: what went into the numbers of a cell, and of the rounds that it shares with others."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version

from clipfed_bench.components.scheme import SHARED
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.provenance import provenance
from clipfed_bench.core.sources import PROJECT, closure, digest, first, lines
from clipfed_bench.runs.digests import METRIC, PREFIX
from clipfed_bench.runs.metric_catalog import added
from clipfed_bench.simulator import shared
from clipfed_bench.simulator.cell_setup import CellSetup
from clipfed_bench.simulator.digests import Digests


def cell_facts(setup: CellSetup) -> dict[str, str]:
    """Of the whole cell."""
    own = {"defaults": json.dumps(_origins(setup.spec)), "warmup_key": setup.spec.warmup_key}
    return provenance(setup.env.device) | own | prefix_facts(setup) | _digests(setup, ("attack",)) | _metrics()


def prefix_facts(setup: CellSetup) -> dict[str, str]:
    """Of the rounds before the attack."""
    facts, component = warmup_facts(setup), setup.spec.defense.component
    if component.needs_teacher:
        facts |= {f"teacher_{k}": v for k, v in setup.teacher.provenance.items()}
        facts |= {"teacher_identity": setup.teacher.identity}
    if component.needs_server_data:
        facts |= {"server_label": setup.server_data.label, "server_hash": setup.server_data.content_hash}
    return facts | _digests(setup, ("defense", "server_data", "teacher", "templates"))


def warmup_facts(setup: CellSetup) -> dict[str, str]:
    """Of the clean warm-up: source and machine, how steps run, and the data."""
    kernels = f"numba {version('numba')}" if setup.compute.kernels == "numba" else "torch"
    manner = {"precision": setup.env.precision, "steps": "graph" if setup.env.graphs else "eager", "kernels": kernels}
    return provenance(setup.env.device) | manner | {"data_source": setup.data.source} | warmup_digests(setup)


def warmup_digests(setup: CellSetup) -> dict[str, str]:
    """Of what the clean warm-up is computed from."""
    held_out = ("server_data",) if setup.spec.warmup["server_data"] else ()
    return _digests(setup, ("simulator", "warmup", "model", "partition", "data", *held_out))


def mark_changed(setup: CellSetup, facts: dict[str, str]) -> dict[str, str]:
    """``facts`` of a cell that has just been computed, in which digests are marked of what was changed meanwhile.

    What of it the cell was computed from nobody knows, so that it is like no other.
    """
    now = Digests(setup.env.data_dir, pixels=shared.pixels).of(setup.spec)
    changed = (name for name, value in setup.digests.items() if now.get(name) != value)
    return facts | {PREFIX + name: f"{setup.digests[name]}, changed while it ran" for name in changed}


def _digests(setup: CellSetup, names: Iterable[str]) -> dict[str, str]:
    return {PREFIX + name: setup.digests[name] for name in names if name in setup.digests}


def _metrics() -> dict[str, str]:
    """Digest of the source of each metric that another package adds. A cell that is done does not depend on it."""
    found = {metric.name: metric.module for metric in added().usable.values() if metric.module is not None}
    return {f"{METRIC}{name}": digest(lines(closure([module], first, PROJECT))) for name, module in found.items()}


def _origins(spec: CellSpec) -> dict[str, str]:
    """Where each default in force comes from, the cell's own and those of its components."""
    origins = spec.defaults()
    for choice in (spec.partition, spec.attack, spec.defense, spec.model):
        kind, options = choice.component.kind, zip(choice.component.options, choice.values, strict=True)
        defaults = [option for option, value in options if value == option.default]
        own = (option for option in defaults if kind != "partition" or option.name not in SHARED)
        origins |= {f"{kind}.{option.name}": option.origin for option in own}
    return origins
