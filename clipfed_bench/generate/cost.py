"""What a generated data set costs: bytes to download, and roughly how long drawing takes. Never imports torch."""

from __future__ import annotations

from clipfed_bench.core.work_counts import plural
from clipfed_bench.data.catalog import base_name, info
from clipfed_bench.execution.machine import cores
from clipfed_bench.generate.models import DEFAULT_MODEL, DEFAULT_PER_CLASS, known_model
from clipfed_bench.generate.settings import Settings, is_folder, resolve

_RATE = {"cpu": 40e9, "cuda": 50e12}
"""FLOP/s that a diffusion model reaches: of one core in float32, of a data center's GPU in 16 bits [ours]."""


def download(settings: Settings, device: str) -> float | None:
    """Bytes to download where the model is not there yet; None for one that is not known, 0 for a folder."""
    if is_folder(settings.model):
        return 0
    known = known_model(settings.model)
    if known is None:
        return None
    single = resolve(settings, device).dtype == "float32" and known.has_float32
    return known.parameters * (4 if single else 2)


def seconds(settings: Settings, device: str) -> float | None:
    """Of drawing all images on ``device`` (``cpu`` or ``cuda``); None for a model that is not known."""
    known, settled = known_model(settings.model), resolve(settings, device)
    if known is None or not known.pass_work or known.size is None:
        return None
    passes = (settled.steps or 1) * (2 if (settled.guidance or 0) > 1 else 1)  # one of them without the prompt
    area = ((settled.size or known.size) / known.size) ** 2
    rate = _RATE[device] * (cores() if device == "cpu" else 1)
    return settings.total * area * (passes * known.pass_work + known.decoding_work) / rate


def told(settings: Settings, device: str) -> str:
    """Both, in words."""
    size, needed = download(settings, device), seconds(settings, device)
    known = "a download of unknown size" if size is None else f"{size / 1e9:.1f} GB to download"
    model = "" if size == 0 else f"; {known}"
    time = "; how long it takes is not known" if needed is None else f"; about {_long(needed)} to draw, a rough guess"
    return f"{plural(settings.total, 'image')} by {settings.model} on {_PLACE[device]}{model}{time}"


def offer(dataset: str, device: str) -> str:
    """The command that makes server data for ``dataset`` on ``device``, and what it costs there."""
    base = base_name(dataset)
    usual = Settings(info(base).classes, DEFAULT_PER_CLASS[device], DEFAULT_MODEL[device])
    command = f"clipfed-bench server-data generate --dataset {base} --out DATA/{base}-generated/train.parquet"
    return f"{command}\n  ({told(usual, device)})"


_PLACE = {"cpu": "the CPU", "cuda": "the GPU"}


def _long(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * length:
            return plural(round(seconds / length), unit)
    return "a minute"
