"""Teachers' checkpoints, configurations and caches that are damaged, foreign or hostile."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad import refused
from damage import Evil
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
MODEL = "tiny-model-of-bad-checkpoints"


def weights() -> dict[str, torch.Tensor]:
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return dict(open_clip.CLIP(**CONFIG).state_dict())


def saved(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """A safetensors file of good weights after ``change``."""

    def write(path: Path) -> None:
        found = weights()
        change(found)
        save_file(found, path)

    return write


def cut(path: Path) -> None:
    save_file(weights(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def archive(path: Path) -> None:
    """What torch writes for a scripted module, with code among its constants."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Evil(), protocol=2))
        file.writestr("archive/constants.pkl", pickle.dumps(Evil(), protocol=2))
        file.writestr("archive/code/__torch__.py", "import os\nos.mkdir('code-ran')\n")
        file.writestr("archive/version", "3\n")


def header(text: bytes, length: int | None = None) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text) and None


FIRST = "visual.conv1.weight"
LOADS = "does not load as " + MODEL
CHECKPOINTS: list[tuple[str, str, Callable[[Path], Any], tuple[str, ...]]] = [
    ("code in a .pt", "t.pt", lambda p: torch.save({"state_dict": Evil()}, p), (LOADS, "weights_only")),
    ("code beside weights", "t.pt", lambda p: torch.save(weights() | {"extra": Evil()}, p), (LOADS, "weights_only")),
    ("code in an old .pt", "t.pt", lambda p: p.write_bytes(pickle.dumps(Evil())), (LOADS,)),
    ("code in a .bin", "t.bin", lambda p: torch.save(Evil(), p), (LOADS,)),
    ("code in a script", "t.pt", archive, ("is not read", "TorchScript archive", "may hold code")),
    ("whole module", "t.pt", lambda p: torch.save(torch.nn.Linear(2, 2), p), (LOADS,)),
    ("objects in a .npz", "t.npz", lambda p: np.savez(p, a=np.array([Evil()], dtype=object)), (LOADS,)),
    ("pickle called .safetensors", "t.safetensors", lambda p: p.write_bytes(pickle.dumps(Evil())), (LOADS,)),
    ("text", "t.pt", lambda p: p.write_bytes(b"not a checkpoint"), (LOADS,)),
    ("empty", "t.pt", Path.touch, (LOADS,)),
    ("empty .safetensors", "t.safetensors", Path.touch, (LOADS,)),
    ("cut off", "t.safetensors", cut, (LOADS,)),
    ("header of 2^63 bytes", "t.safetensors", header(b"{}", 2**63 - 1), (LOADS,)),
    ("header of no JSON", "t.safetensors", header(b"{nonsense"), (LOADS,)),
    ("no tensors", "t.safetensors", header(b"{}"), (LOADS,)),
    (
        "tensor beyond the end",
        "t.safetensors",
        header(b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'),
        (LOADS,),
    ),
    ("alien tensors", "t.safetensors", lambda p: save_file({"a": torch.zeros(2)}, p), (LOADS,)),
    (
        "a tensor missing",
        "t.safetensors",
        saved(lambda w: w.pop(FIRST)),
        (LOADS, 'Missing key(s) in state_dict: "visual.conv1.weight".'),
    ),
    ("other shapes", "t.safetensors", saved(lambda w: w.update({FIRST: torch.zeros(3, 3)})), (LOADS, "size mismatch")),
    ("not finite", "t.safetensors", saved(lambda w: w[FIRST].fill_(float("nan"))), (LOADS, "not finite")),
    ("folder", "t.pt", Path.mkdir, ("there is no file", "t.pt", "--teacher local")),
    ("nothing", "t.pt", lambda p: None, ("there is no file", "t.pt", "--teacher local")),
    ("dead link", "t.pt", lambda p: p.symlink_to("nowhere"), ("there is no file",)),
    ("pipe", "t.pt", os.mkfifo, ("there is no file",)),
]
BESIDE = "not open_clip's configuration of a model"
CONFIGS: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    ("no JSON", "{", (BESIDE,)),
    ("no UTF-8", b"\xff\xfe", ("cannot be read as text",)),
    ("list", "[]", (BESIDE,)),
    ("nested", "[" * 100_000, (BESIDE,)),
    ("megabytes", " " * 1_000_001, ("larger than 1,000,000 bytes",)),
    ("no size", json.dumps({k: v for k, v in CONFIG.items() if k != "embed_dim"}), (BESIDE,)),
    ("towers of text", json.dumps(CONFIG | {"vision_cfg": "ViT"}), (BESIDE,)),
    ("image of text", json.dumps(CONFIG | {"vision_cfg": {"image_size": "big"}}), (BESIDE, "up to 4096")),
    ("image of gigapixels", json.dumps(CONFIG | {"vision_cfg": {"image_size": 10**6}}), (BESIDE, "up to 4096")),
]
SPECS = [
    ("open_clip:ViT-L14/openai", ("does not know the model 'ViT-L14'", "Did you mean 'ViT-L-14'?")),
    ("open_clip:ViT-L-14/opneai", ("no weights 'opneai' for ViT-L-14", "Did you mean 'openai'?")),
    ("open_clip:ViT-L-14/../../x", ("'ViT-L-14/../..' is no name of a model",)),
    ("open_clip:unheard-of@t.pt", ("there is no file 't.pt'",)),
    ("open_clip:a/b@t.pt", ("'a/b' is no name of a model",)),
    ("open_clip:hf-hub:me/mine", ("'hf-hub:me' is no name of a model",)),
    ("pickle:t.pt", ("'pickle:t.pt' is not a teacher",)),
    ("local[epochs=1", ("is not a name with options",)),
]


@pytest.mark.parametrize(("id", "name", "write", "words"), CHECKPOINTS, ids=[line[0] for line in CHECKPOINTS])
def test_checkpoints(id: str, name: str, write: Callable[[Path], Any], words: tuple[str, ...], place: Path) -> None:
    (place / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    write(place / name)
    refused(("teacher", "eval", f"open_clip:{MODEL}@{name}", "--dataset", "digits"), words, place)


@pytest.mark.parametrize(("id", "content", "words"), CONFIGS, ids=[line[0] for line in CONFIGS])
def test_configurations(id: str, content: str | bytes, words: tuple[str, ...], place: Path) -> None:
    name = f"bad-{id.replace(' ', '-')}"
    (place / f"{name}.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (place / "t.pt").touch()
    refused(("teacher", "eval", f"open_clip:{name}@t.pt", "--dataset", "digits"), words, place)
    import open_clip

    open_clip.factory._rescan_model_configs()  # what was refused does not stay in the list


@pytest.mark.parametrize(("spec", "words"), SPECS)
def test_specs(spec: str, words: tuple[str, ...], place: Path) -> None:
    refused(("teacher", "eval", spec, "--dataset", "digits"), words, place)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("templates: './t.txt' is empty", "a photo of a {}.")),
        (b"a photo", ("templates: 'a photo' (template 1 of './t.txt')", "exactly once")),
        (b"a {} and a {}", ("exactly once",)),
        (b"a {0.__class__}", ("exactly once",)),
        (b"\xff\xfe", ("templates: './t.txt'", "cannot be read as text")),
        (b"{}\n" * 400_000, ("larger than 1,000,000 bytes",)),
        (None, ("templates: there is no file './t.txt'", "openai-cifar")),
    ],
)
def test_templates(content: bytes | None, words: tuple[str, ...], place: Path) -> None:
    if content is not None:
        (place / "t.txt").write_bytes(content)
    (place / "t.pt").touch()
    spec = f"open_clip:{MODEL}@t.pt"
    refused(("teacher", "eval", spec, "--dataset", "digits", "--templates", "./t.txt"), words, place)


# --- caches: what is damaged or foreign is made anew --------------------------------------------------------------


def test_features_that_do_not_fit_are_computed_again(place: Path) -> None:
    from clipfed_bench.teacher.features import TensorCache
    from clipfed_bench.teacher.teacher import _fits

    cache, good = TensorCache(place / "cache"), {"features": torch.ones(3, 2)}
    path = place / "cache" / "key.safetensors"
    for bad in ({"features": torch.ones(2, 2)}, {"features": torch.ones(3, 2).double()}, {"other": torch.ones(3, 2)}):
        save_file(bad, path)
        assert cache.get("key", lambda: good, lambda t: _fits(t, "features", 3))["features"].equal(good["features"])
        assert cache.get("key", dict, lambda t: _fits(t, "features", 3))["features"].equal(good["features"])
    for damage in (b"", b"x" * 100, struct.pack("<Q", 2**63 - 1)):
        path.write_bytes(damage)
        assert cache.get("key", lambda: good)["features"].equal(good["features"])


def test_a_damaged_local_teacher_is_trained_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipfed_bench.teacher import loading
    from clipfed_bench.teacher.recipe import recipe
    from clipfed_bench.toolbox.images import Images, ServerData

    images = Images(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    server, trained = ServerData(images, ("a", "b") * 2, "x", "h"), []

    def train(server: Any, classes: Any, recipe: Any, out: Path, progress: Any) -> Any:
        trained.append(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        facts = {"model": MODEL, "held_out_accuracy": 0.5}
        out.with_name(f"{MODEL}.json").write_text(json.dumps(CONFIG))
        out.with_name(f"{out.stem}.train.json").write_text(json.dumps(facts))
        save_file({"a": torch.ones(1)}, out)
        return loading.TrainedTeacher(MODEL, out, facts)

    monkeypatch.setattr(loading, "train_teacher", train)

    def load() -> int:
        loading.trained_teacher(server, ("a", "b"), recipe({}), place / "cache")
        return len(trained)

    assert [load(), load()] == [1, 1]
    path = trained[0]
    count = 1
    for name, content in (
        (path.name, b""),
        (path.name, b"x" * 50),
        (f"{path.stem}.train.json", b"{"),
        (f"{path.stem}.train.json", b"[" * 100_000),
        (f"{path.stem}.train.json", b'{"model": "../../x", "held_out_accuracy": 1}'),
        (f"{path.stem}.train.json", b'{"model": "m", "held_out_accuracy": "good"}'),
        (f"{MODEL}.json", b"{"),
    ):
        (path.parent / name).write_bytes(content)
        count += 1
        assert [load(), load()] == [count, count], name
