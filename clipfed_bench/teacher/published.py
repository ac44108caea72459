"""What comes with a published checkpoint: the configuration beside it, and the archive that CLIP's authors use."""

from __future__ import annotations

import contextlib
import shlex
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip

from clipfed_bench.core.errors import DamagedFileError, TeacherError, shown
from clipfed_bench.core.notices import notice
from clipfed_bench.core.untrusted import read_json
from clipfed_bench.teacher.spec import CONFIG

_ARCHITECTURE = ("embed_dim", "vision_cfg", "text_cfg")
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def config_beside(checkpoint: Path, model: str) -> dict[str, Any]:
    """How ``checkpoint``, of open_clip's ``model``, is to be run, in the form of open_clip's tags.

    From the configuration beside it: ``quick_gelu`` and preprocessing. Where there is none and some weights of
    ``model`` need another activation or preprocessing than it is given, that is said.

    Raises TeacherError for a configuration that is damaged, or of another architecture.
    """
    path = checkpoint.with_name(CONFIG)
    if not path.is_file():
        _say_what_is_assumed(checkpoint, model)
        return {}
    try:
        found = read_json(path)
        theirs, preprocess = found["model_cfg"], found.get("preprocess_cfg", {})
        named = open_clip.get_model_config(model) or {}
        differing = [name for name in _ARCHITECTURE if theirs[name] != named.get(name)]
        quick_gelu, merged = bool(theirs.get("quick_gelu", False)), {**preprocess}
    except (DamagedFileError, KeyError, TypeError, AttributeError) as error:
        raise TeacherError(
            f"{shown(path)}: not what the hub has beside weights of open_clip, JSON with model_cfg (embed_dim, "
            f"vision_cfg, text_cfg) and preprocess_cfg: {shown(error)}."
        ) from error
    if differing:
        raise TeacherError(
            f"{shown(path)} describes another architecture than {model}: other {', '.join(differing)}. Name the model "
            "that it is of, open_clip:MODEL@PATH, or remove it where it does not belong to these weights."
        )
    if named.get("quick_gelu") and not quick_gelu:  # open_clip takes what is not there for GELU
        raise TeacherError(
            f"{shown(path)} describes a model with GELU, and {model} has QuickGELU. Name the model without -quickgelu, "
            "or remove it where it does not belong to these weights."
        )
    return {**merged, "quick_gelu": quick_gelu}


def trained_on(checkpoint: Path) -> str:
    """Server data that a teacher of `clipfed-bench teacher train` was trained on, as the file beside it says; or ''."""
    with contextlib.suppress(OSError, DamagedFileError):
        facts = read_json(checkpoint.with_name(f"{checkpoint.stem}.train.json"))
        if isinstance(facts, dict) and isinstance(facts.get("server_data"), str):
            return shown(f"{facts['server_data']} {str(facts.get('server_data_hash', ''))[:12]}".strip())
    return ""


def _say_what_is_assumed(checkpoint: Path, model: str) -> None:
    own, usual = open_clip.get_model_config(model) or {}, asdict(open_clip.transform.PreprocessCfg())
    configs = {tag: open_clip.get_pretrained_cfg(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)}
    quick = [tag for tag, config in configs.items() if config.get("quick_gelu") and not own.get("quick_gelu")]
    other = [tag for tag, config in configs.items() if any(config.get(n, usual[n]) != usual[n] for n in _PREPROCESS)]
    assumed = f"teacher {shown(checkpoint)}: there is no {CONFIG} beside it, so"
    if quick:
        notice(
            f"{assumed} it is run with GELU, as {model} has it. Weights of the tags {', '.join(quick)} need QuickGELU: "
            f"name the model {model}-quickgelu for those."
        )
    if other:
        notice(
            f"{assumed} its images are normalized and resized as OpenAI's. Weights of the tags {', '.join(other)} want "
            "it otherwise: copy the file from where they are."
        )


def how_to_convert(checkpoint: Path) -> str:
    """What to do with a TorchScript archive, which is code; empty if ``checkpoint`` is none."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            script = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return ""
    if not script:
        return ""
    target = checkpoint.with_name(f"{checkpoint.stem}-weights.pt")
    code = (
        f"import torch; s = torch.jit.load({str(checkpoint)!r}, map_location='cpu').state_dict(); "
        f"torch.save({{k: v for k, v in s.items() if k not in {_NO_WEIGHTS!r}}}, {str(target)!r})"
    )
    return (
        "It is a TorchScript archive, as CLIP's authors publish them, and may hold code, so it is not run here. If you "
        f"trust where it is from, convert it once, and name {target}:\n  python -c {shlex.quote(code)}"
    )
