"""Teachers that are trained here: the files that they are, and the cache in which they are found again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save
from torch import nn

from clipfed_bench.core.errors import DamagedFileError, TeacherError, shown
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.untrusted import read_json, reading
from clipfed_bench.teacher.spec import CONFIG
from clipfed_bench.toolbox.images import ServerData
from clipfed_bench.toolbox.tensor_files import all_finite, read_tensors


@dataclass(frozen=True)
class TrainedTeacher:
    """A trained checkpoint. ``metadata`` is also in the JSON file beside it."""

    model_name: str
    path: Path
    metadata: dict[str, Any]

    @property
    def spec(self) -> str:
        """What to give as ``--teacher``."""
        return f"open_clip:{self.model_name}@{self.path}"


def write_teacher(
    out: Path, model: nn.Module, name: str, config: dict[str, Any], metadata: dict[str, Any], preprocess: dict[str, Any]
) -> TrainedTeacher:
    """Write ``model``, which open_clip is to know as ``name`` with ``config``, its weights last.

    ``preprocess`` is what open_clip is told of images where they differ from CLIP's; empty where not.
    Raises TeacherError for numbers that are not finite.
    """
    if not all_finite(model.state_dict().values()):
        raise TeacherError(f"training the teacher diverged at lr {metadata['recipe']['lr']:g}; use a smaller one.")
    metadata |= {"model": name, "versions": {"torch": torch.__version__, "open_clip": open_clip.__version__}}
    write_atomically(out.with_name(f"{name}.json"), _json(config))
    if preprocess:
        write_atomically(out.with_name(CONFIG), _json({"model_cfg": config, "preprocess_cfg": preprocess}))
    write_atomically(out.with_name(f"{out.stem}.train.json"), _json(metadata))
    write_atomically(out, save({key: value.contiguous() for key, value in model.state_dict().items()}))
    return TrainedTeacher(name, out, metadata)


def facts(server: ServerData, classes: tuple[str, ...], recipe: Any, split: tuple[int, int]) -> dict[str, Any]:
    """What the metadata of any teacher begins with; ``split`` are the numbers of images trained on and held out."""
    return {
        "training_images": split[0],
        "held_out_images": split[1],
        "server_data": server.label,
        "server_data_hash": server.content_hash,
        "classes": list(classes),
        "recipe": asdict(recipe),
    }


def stored_teacher(path: Path) -> TrainedTeacher | None:
    """What lies in the cache; None where there is nothing or it is damaged, and so has to be trained anew."""
    if not path.is_file():  # written last, so what lies beside it is complete
        return None
    with suppress(DamagedFileError), reading():
        metadata = read_json(path.with_name(f"{path.stem}.train.json"))
        metadata |= {"model": str(metadata["model"]), "held_out_accuracy": float(metadata["held_out_accuracy"])}
        read_json(path.with_name(f"{metadata['model']}.json"))
        return TrainedTeacher(metadata["model"], path, metadata) if read_tensors(path)[0] else None
    return None


def check_out(out: Path, *, alone: bool = False) -> None:
    """Raise TeacherError where a checkpoint cannot be written: known before an hour of training, not after it.

    ``alone``: with a configuration beside it that would be taken for that of any other checkpoint in the folder.
    """
    if out.suffix != ".safetensors":
        raise TeacherError(f"teacher checkpoints are .safetensors files, not '{shown(out.name)}'.")
    nearest = next(folder for folder in out.absolute().parents if folder.exists())
    if out.is_dir() or not nearest.is_dir():
        raise TeacherError(f"{shown(out)}: {shown(out if out.is_dir() else nearest)} is in the way; name another file.")
    others = [path for path in (out.parent.glob("*.safetensors") if out.parent.is_dir() else ()) if path != out]
    if alone and others:
        raise TeacherError(
            f"{shown(out)}: {CONFIG}, which this teacher has beside it, would be taken for that of {shown(others[0])}; "
            "name a folder of its own."
        )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
