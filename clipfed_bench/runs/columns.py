"""The columns of ``results.parquet`` and ``history.parquet``, one by one, as the documentation shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from clipfed_bench.config.cell_spec import CellSpec, value_type
from clipfed_bench.core.provenance import PACKAGES
from clipfed_bench.runs.digests import PREFIX
from clipfed_bench.runs.metrics import METRICS
from clipfed_bench.runs.schema import HISTORY_AXES


@dataclass(frozen=True)
class Column:
    """A column of a file."""

    name: str
    kind: str
    """``text``, ``integer``, ``number``, ``fraction`` (0 to 1) or ``seconds``, with the range if it has one."""
    meaning: str


def of_cells() -> list[Column]:
    """``results.parquet``: what a cell is."""
    bare = "the {} without its options"
    columns = [
        Column("key", "text", "first 16 hexadecimal digits of the sha256 of all settings below, options included"),
        Column("status", "text", "done or failed; a failed cell has no figures"),
    ]
    for f in fields(CellSpec):
        origin = f.metadata["origin"]
        columns.append(Column(f.name, _kind(f), f"{f.metadata['help']} [{origin}]"))
        if f.name in ("attack", "defense"):
            columns.append(Column(f"{f.name}_name", "text", bare.format(f.name)))
    return columns


def of_figures() -> list[Column]:
    """``results.parquet``: what a cell came to. Figures that are undefined or were not measured are null."""
    return [
        *(Column(metric.name, metric.kind, metric.meaning) for metric in METRICS.values()),
        Column("error", "text", "of a failed cell, in one line; the traceback is in cells/KEY.json"),
        Column("created", "text", "when the cell was stored: date and time, UTC, ISO 8601"),
    ]


def of_provenance() -> list[Column]:
    """``results.parquet``: with what a cell was measured. All are text; null where a cell has no such thing."""
    return [Column(name, "text", meaning) for name, meaning in _PROVENANCE.items()]


def of_history() -> list[Column]:
    """``history.parquet``: an evaluation."""
    since = "since the evaluation before"
    return [
        *(Column(name, "as above", "the cell") for name in ("key", *HISTORY_AXES)),
        Column("round", "integer", "rounds done, after the warm-up; 0 is the evaluation before round 1"),
        *(Column(m.name, m.kind, m.history) for m in METRICS.values() if m.history),
        *(Column(f"info_{name}", "number", f"{text}, mean of the rounds {since}") for name, text in INFO.items()),
    ]


INFO: Mapping[str, str] = {
    "alignins_clip": "alignins: bound that norms were clipped to",
    "alignins_kept": "alignins: clients that align as most do",
    "crfl_bound": "crfl: bound that the model's norm was clipped to",
    "crfl_norm": "crfl: norm of the model before that",
    "crfl_sigma": "crfl: standard deviation of the noise",
    "kept": "clip-fed: clients in the majority cluster",
    "bucketing_buckets": "bucketing: buckets that the other defense aggregated",
    "bucketing_guarantee": "bucketing: 1 where most buckets have no malicious client, else 0",
    "bulyan_guarantee": "bulyan: 1 where the theorem's condition n >= 4f + 3 holds, else 0",
    "bulyan_malicious": "bulyan: f, the clients assumed malicious",
    "centered_clip_clipped": "centered-clip: clients that were clipped, in the last step",
    "centered_clip_tau": "centered-clip: distance from the center that they were clipped to",
    "deepsight_clip": "deepsight: bound that norms were clipped to",
    "deepsight_suspicious": "deepsight: models that look trained on few classes",
    "dnc_always_good": "dnc: 1 where some clients were good in each repetition, else 0",
    "dnc_kept": "dnc: clients that were averaged",
    "fedcpa_kept": "fedcpa: clients with a weight above 0",
    "fedcpa_weight": "fedcpa: mean weight of a client",
    "flame_clip": "flame: bound that norms were clipped to",
    "flame_kept": "flame: clients in the majority cluster",
    "flame_sigma": "flame: standard deviation of the noise",
    "fldetector_malicious": "fldetector: clients in the upper cluster of suspicious scores",
    "fltrust_root": "fltrust: images that the server trained on",
    "fltrust_trust": "fltrust: mean trust score",
    "foolsgold_weight": "foolsgold: mean weight of a client",
    "freqfed_coefficients": "freqfed: coefficients that clients were clustered by",
    "freqfed_kept": "freqfed: clients in the majority cluster",
    "krum_guarantee": "krum, multi-krum: 1 where the theorem's condition 2f + 2 < n holds, else 0",
    "krum_malicious": "krum, multi-krum: f, the clients assumed malicious",
    "nnm_guarantee": "nnm: 1 where the theorem's condition n > 2f holds, else 0",
    "nnm_malicious": "nnm: f, the clients assumed malicious",
    "norm_clip_bound": "norm-clip: bound that norms were clipped to",
    "norm_clip_clipped": "norm-clip: clients that were clipped",
    "rfa_largest_share": "rfa: largest share of a client in the aggregate",
    "rflbat_kept": "rflbat: clients in the benign cluster, without its outliers",
    "rkd_benign": "rkd: clients in the cluster that is taken for benign",
    "rkd_ensemble": "rkd: models that were distilled",
    "rlr_reversed": "rlr: share of parameters whose direction was reversed",
    "rlr_threshold": "rlr: clients that have to agree on a direction",
    "signguard_norm": "signguard: clients with a usual norm",
    "signguard_sign": "signguard: clients in the largest cluster of signs",
    "trimmed_each_side": "trimmed-mean: values left out on each side",
}
"""What the defenses here say of a round (:attr:`clipfed_bench.api.Aggregate.info`); other people's add columns."""

_DIGESTS = {
    "simulator": "the simulator's source",
    "warmup": "FedAvg's source, if there is a warm-up",
    "model": "the model's source",
    "partition": "the partition's source",
    "attack": "the attack's source, with attacks and files that its options name",
    "defense": "the defense's source, the same",
    "data": "the data set's content, and the source that reads it",
    "server_data": "the server data's content, and the source that reads or draws them",
    "teacher": "the teacher's source, and the file of its weights if one was named",
    "templates": "the prompts",
}

_PROVENANCE = {
    **{f"version_{name.replace('-', '_')}": f"version of {name}, none if it is not installed" for name in PACKAGES},
    "version_python": "version of Python",
    "platform": "operating system and its version",
    "machine": "architecture, as x86_64",
    "cpu": "the processor's name",
    "cpu_id": "its vendor, family, model and stepping, which libraries choose their kernels by",
    "cpu_capability": "instruction set that torch uses, as AVX512",
    "device": "cpu or cuda",
    "device_name": "name of the processor or GPU that computed",
    "precision": "of training and evaluation: float32 or bfloat16",
    "steps": "how training steps ran: eager, or graph (captured CUDA graphs)",
    "kernels": "what computed the model: torch, or numba with its version (the CNN on a CPU)",
    **{PREFIX + name: f"digest of {meaning}" for name, meaning in _DIGESTS.items()},
    "git_sha": "commit of the source, with -dirty where it was changed; none without a checkout",
    "data_source": "where the data set was read from, in what form, and a hash",
    "defaults": "JSON: each setting or option left at its default, and that default's kind (paper, lineage, ours)",
    "warmup_key": "name of the clean warm-up, warmups/KEY.safetensors (and device, precision, kernels if unusual)",
    "server_label": "server data: what they are",
    "server_hash": "server data: sha256 of their content",
    "teacher_name": "the teacher as it was asked for",
    "teacher_templates": "its prompts",
    "teacher_tag": "tag of the open_clip checkpoint, if one was named",
    "teacher_checkpoint": "sha256 of its weights",
    "teacher_identity": "hash of weights, architecture and preprocessing: alike where features are alike",
    "teacher_held_out_accuracy": "local teacher: accuracy on server images that it was not trained on",
    "teacher_trained_on": "teacher trained here or by `teacher train`: server data, with the beginning of their hash",
    "teacher_tower": "LiT teacher: package or file of its image tower, with the beginning of the weights' sha256",
}


def _kind(field: Field[Any]) -> str:
    kind = value_type(field).removesuffix(" | None")
    low, high = field.metadata["low"], field.metadata["high"]
    name = {"str": "text", "int": "integer", "float": "number"}[kind]
    if low is None:
        return name
    return f"{name}, {low:g} to {high:g}" if high is not None else f"{name}, {low:g} or more"
