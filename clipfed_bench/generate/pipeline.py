"""A text-to-image pipeline of diffusers: loading it, what it is, and drawing with it."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipfed_bench.core.errors import UserError
from clipfed_bench.core.version import VERSION
from clipfed_bench.generate.settings import Settings, is_folder

_ENDS = 1 << 16
"""Bytes at both ends of a file that its fingerprint looks at."""


@dataclass(frozen=True)
class Generator:
    """A loaded pipeline."""

    settings: Settings
    """With nothing left open but what the pipeline does not tell."""
    facts: dict[str, Any]
    """Provenance for the file: pipeline, scheduler, versions, device."""
    draw: Callable[[Sequence[str], Sequence[int]], list[Image.Image | None]]
    """One RGB image for each prompt and seed; None where the result is blank or the safety checker took it away."""


def load_generator(settings: Settings, device: str) -> Generator:
    """The pipeline that ``settings`` (resolved) name, on ``device`` (``cpu`` or ``cuda``).

    From the hub it is the commit that ``settings`` name, where they name one, else the revision.

    Raises UserError: diffusers is not installed, the model cannot be had, or is no text-to-image pipeline.
    """
    diffusers = _import()
    import torch

    folder, commit = find(settings, diffusers)
    half = settings.dtype == "float16" and any(Path(folder).glob("*/*.fp16.*"))
    options = {"dtype": getattr(torch, settings.dtype), "variant": "fp16" if half else None}
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
        pipeline = pipeline.to(device)
    except torch.OutOfMemoryError:
        raise UserError(f"--model {settings.model} does not fit into the GPU's memory; take a smaller one.") from None
    except Exception as error:  # whatever many libraries raise at a broken or foreign model
        raise UserError(_cannot(settings, error)) from error
    pipeline.set_progress_bar_config(disable=True)
    parameters = inspect.signature(pipeline.__call__).parameters
    _check_kind(settings, type(pipeline).__name__, parameters)
    own = {name: parameter.default for name, parameter in parameters.items()}
    settings = replace(
        settings,
        commit=commit,
        steps=own.get("num_inference_steps") if settings.steps is None else settings.steps,
        guidance=own.get("guidance_scale") if settings.guidance is None else settings.guidance,
    )
    facts = {
        "pipeline": type(pipeline).__name__,
        "scheduler": type(getattr(pipeline, "scheduler", None)).__name__,
        "safety_checker": getattr(pipeline, "safety_checker", None) is not None,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "versions": {"clipfed-bench": VERSION}
        | {name: version(name) for name in ("torch", "diffusers", "transformers")},
    }
    size = {"height": settings.size, "width": settings.size}
    chosen = {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance} | size
    fixed = {name: value for name, value in chosen.items() if value is not None}

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image | None]:
        # Noise is drawn on the CPU, one generator an image: the same whatever the device and the batch.
        random = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        try:
            result = pipeline(prompt=list(prompts), generator=random, output_type="pil", **fixed)
        except (TypeError, ValueError) as error:
            raise UserError(f"{settings.model}: the pipeline refuses to draw: {_line(error)}") from error
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(result.images)
        images = [image.convert("RGB") for image in result.images]
        return [None if bad or is_blank(image) else image for image, bad in zip(images, flagged, strict=True)]

    return Generator(settings, facts, draw)


def is_blank(image: Image.Image) -> bool:
    """Whether an image is of one color: what a safety checker or an overflow in half precision leaves."""
    pixels = np.asarray(image).reshape(-1, 3)
    return bool((pixels.max(0).astype(int) - pixels.min(0)).max() <= 2)


def _import() -> Any:
    """The module diffusers, kept quiet; of its messages only errors are shown."""
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise UserError(
            f"making images needs diffusers and transformers, and they cannot be imported ({_line(error)}).\n"
            "Install them with: pip install 'clipfed-bench[generate]'"
        ) from None
    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # of loading; downloads have their own
    return diffusers


def find(settings: Settings, diffusers: Any) -> tuple[str, str]:
    """The folder with the model's files, downloaded where they are not, and what tells their version.

    ``diffusers`` is the module. Raises UserError: there is no such model, or no way to it.
    """
    model = settings.model
    if is_folder(model):
        folder = Path(model).expanduser()
        return str(folder), _fingerprint(folder)
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).exists():
        raise UserError(
            f"--model {model}: there is no such folder. A folder saved by diffusers (with model_index.json) or an id "
            "on the Hugging Face hub is needed, e.g. stable-diffusion-v1-5/stable-diffusion-v1-5."
        )
    download = partial(diffusers.DiffusionPipeline.download, model, revision=settings.commit or settings.revision)
    try:
        try:  # half the download, where there are such files
            folder = Path(download(variant="fp16" if settings.dtype == "float16" else None))
        except ValueError:
            folder = Path(download())
    except Exception as error:  # network, authorization, no such model: every library involved has its own
        raise UserError(_cannot(settings, error)) from error
    return str(folder), folder.name


def _fingerprint(folder: Path) -> str:
    """``files:`` and a hash of the names, sizes and both ends of a local model's files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        size = path.stat().st_size
        total.update(f"{relative.as_posix()}\t{size}\n".encode())
        with path.open("rb") as file:
            total.update(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            total.update(file.read(_ENDS))
    return f"files:{total.hexdigest()[:16]}"


def _check_kind(settings: Settings, name: str, parameters: Any) -> None:
    needed = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name != "prompt"
    ]
    lacking = [name for name in ("prompt", "generator") if name not in parameters]
    if needed or lacking:
        why = f"it needs {', '.join(needed)}" if needed else f"it takes no {' and no '.join(lacking)}"
        raise UserError(f"--model {settings.model}: {name} is not a text-to-image pipeline: {why}.")
    for option, parameter in (("steps", "num_inference_steps"), ("guidance", "guidance_scale"), ("size", "height")):
        if getattr(settings, option) is not None and parameter not in parameters:
            raise UserError(f"--{option}: {name} of {settings.model} has no such setting; leave it out.")


def _cannot(settings: Settings, error: Exception) -> str:
    model, reason = settings.model, _line(error)
    if "not fully cached locally" in reason:  # diffusers' words advise arguments of its functions
        reason = f"it is not in the local cache, and the hub does not give it: {error.__cause__ or 'offline'}"
    if re.search("gated|401|403", f"{type(error).__name__} {reason}", re.IGNORECASE):
        gate = f"\n  - it may be gated: accept its license at huggingface.co/{model}, then log in with: hf auth login"
    else:
        gate = ""
    revision = f" at revision {settings.revision}" if settings.revision else ""
    return (
        f"--model {model}: the model{revision} cannot be loaded: {reason}\nWhat can be done:{gate}\n"
        f"  - check its name at huggingface.co/{model} (a diffusers pipeline, with model_index.json)\n"
        f"  - without a network, fetch it elsewhere with: hf download {model} --local-dir FOLDER\n"
        "    and name the folder with --model FOLDER\n"
        "  - newer models need newer libraries: pip install --upgrade diffusers transformers"
    )


def _line(error: BaseException) -> str:
    """An error in one line of sensible length."""
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    text = " ".join(f"{error}{cause}".split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."
