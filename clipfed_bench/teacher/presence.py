"""Whether a teacher's weights are on this machine, found out without loading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def downloaded(config: dict[str, Any]) -> bool:
    """Whether the weights that ``config``, open_clip's of a tag, names are in the cache of the hub or of open_clip."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    model, _, file = str(config.get("hf_hub", "")).rpartition("/")
    if model:
        names = [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
        return any(isinstance(try_to_load_from_cache(model, name), str) for name in names)
    name = str(config.get("url", "")).rpartition("/")[2]
    return (Path("~/.cache/clip").expanduser() / name).is_file()
