"""Provenance: what went into the numbers of a cell, and of the rounds that it shares with others."""

from __future__ import annotations

import json

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.provenance import provenance
from clipfed_bench.simulator.cell_setup import CellSetup


def cell_facts(setup: CellSetup) -> dict[str, str]:
    """Of the whole cell."""
    own = {"defaults": json.dumps(_origins(setup.spec)), "warmup_key": setup.spec.warmup_key}
    return provenance(setup.env.device) | own | prefix_facts(setup)


def prefix_facts(setup: CellSetup) -> dict[str, str]:
    """Of the rounds before the attack."""
    facts, component = warmup_facts(setup), setup.spec.defense.component
    if component.needs_teacher:
        facts |= {f"teacher_{k}": v for k, v in setup.teacher.provenance.items()}
        facts |= {"teacher_identity": setup.teacher.identity}
    if component.needs_server_data:
        facts |= {"server_label": setup.server_data.label, "server_hash": setup.server_data.content_hash}
    return facts


def warmup_facts(setup: CellSetup) -> dict[str, str]:
    """Of the clean warm-up: source and machine, how steps run, and the data."""
    manner = {"precision": setup.env.precision, "steps": "graph" if setup.env.graphs else "eager"}
    return provenance(setup.env.device) | manner | {"data_source": setup.data.source}


def _origins(spec: CellSpec) -> dict[str, str]:
    """Where each default in force comes from, the cell's own and those of its attack and defense."""
    origins = spec.defaults()
    for choice in (spec.attack, spec.defense):
        kind, options = choice.component.kind, zip(choice.component.options, choice.values, strict=True)
        origins |= {f"{kind}.{option.name}": option.origin for option, value in options if value == option.default}
    return origins
