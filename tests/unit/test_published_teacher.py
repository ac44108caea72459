"""A published checkpoint from a file is the teacher that its tag is: what comes with it is followed, or said."""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from clipfed_bench.core.errors import TeacherError
from clipfed_bench.core.notices import shown_by
from clipfed_bench.teacher.loading import load_teacher
from clipfed_bench.teacher.preprocess import Preprocess
from clipfed_bench.teacher.published import config_beside

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that open_clip knows as ``published``, in a folder of its own."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "published.json").write_text(json.dumps(SMALL))
    open_clip.add_model_config(folder / "published.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("published").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def beside(weights: Path, **changes: Any) -> Path:
    config = {"model_cfg": SMALL | {"quick_gelu": True}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}} | changes
    path = weights.with_name("open_clip_config.json")
    path.write_text(json.dumps(config))
    return path


def load(weights: Path, cache: Path, classes: tuple[str, ...] = ("cat", "dog"), **more: Any):
    return load_teacher(f"open_clip:published@{weights}", classes, cache_dir=cache, **more)


def activations(teacher: Any) -> set[str]:
    return {type(module).__name__ for module in teacher.model.modules()} & {"GELU", "QuickGELU"}


def test_the_configuration_beside_is_followed(weights: Path, tmp_path: Path) -> None:
    plain = load(weights, tmp_path)
    path = beside(weights)
    try:
        own = load(weights, tmp_path)
        assert (activations(plain), activations(own)) == ({"GELU"}, {"QuickGELU"})
        images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        inputs = Preprocess((32, 32), (0.1, 0.2, 0.3), open_clip.OPENAI_DATASET_STD)(images.float() / 255)
        with torch.no_grad():
            expected = own.model.encode_image(inputs, normalize=True)
        torch.testing.assert_close(own.image_features(images), expected)
        assert own.identity != plain.identity
    finally:
        path.unlink()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"model_cfg": ', "not what the hub has beside weights"),
        ("[]", "not what the hub has beside weights"),
        ('{"model_cfg": {"embed_dim": 16}}', "not what the hub has beside weights"),
        (json.dumps({"model_cfg": SMALL | {"embed_dim": 8}}), "another architecture than published: other embed_dim"),
    ],
)
def test_one_that_does_not_belong_there_is_refused(weights: Path, tmp_path: Path, content: str, words: str) -> None:
    path = weights.with_name("open_clip_config.json")
    path.write_text(content)
    try:
        with pytest.raises(TeacherError, match=re.escape(words)):
            load(weights, tmp_path)
    finally:
        path.unlink()


def test_without_one_it_is_said_where_weights_of_that_name_need_quickgelu(tmp_path: Path) -> None:
    said: list[str] = []
    with shown_by(said.append):
        assert config_beside(tmp_path / "weights.pt", "ViT-B-32") == {}
        assert config_beside(tmp_path / "weights.pt", "ViT-B-32-quickgelu") == {}
        assert config_beside(tmp_path / "weights.pt", "published") == {}
    (text,) = said
    assert "run with GELU, as ViT-B-32 has it" in text
    assert "openai" in text
    assert "name the model ViT-B-32-quickgelu" in text
    with shown_by(said.append):
        config_beside(tmp_path / "weights.pt", "ViT-B-16-SigLIP")
    assert "normalized and resized as OpenAI's. Weights of the tags webli want it otherwise" in said[1]


def test_an_archive_of_code_is_not_run_and_the_way_to_convert_it_works(weights: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive.pt"
    model = open_clip.create_model("published", pretrained=str(weights), weights_only=True).eval()
    torch.jit.save(torch.jit.script(model), archive)
    with pytest.raises(TeacherError, match="TorchScript archive") as error:
        _ = load(archive, tmp_path).model
    name, option, code = shlex.split(str(error.value).splitlines()[-1])
    assert (name, option) == ("python", "-c")
    subprocess.run([sys.executable, option, code], check=True, timeout=120)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    converted = load(tmp_path / "archive-weights.pt", tmp_path)
    torch.testing.assert_close(converted.image_features(images), load(weights, tmp_path).image_features(images))


def test_prompts_that_are_cut_until_classes_are_one_are_refused(weights: Path, tmp_path: Path) -> None:
    templates = tmp_path / "templates.txt"
    templates.write_text("a photo that was taken on a long and rainy day in a town, of a {}.\n")
    with pytest.raises(TeacherError, match="longer than the 12 tokens that the teacher reads"):
        load(weights, tmp_path, templates=str(templates))
    templates.write_text("{}, in a photo that was taken on a long and rainy day in a town by the sea.\n")
    said: list[str] = []
    with shown_by(said.append):
        assert load(weights, tmp_path, templates=str(templates))
    assert said[0].startswith("templates: 2 of 2 prompts are longer than the 12 tokens that the teacher reads")
    assert "as of 'cat, in a photo" in said[0]
    words = "of a very small and old {} dog"  # with its ends 10 tokens; and then as many as fit
    for more, cut in ((2, False), (3, True)):
        templates.write_text(f"{words}{' dog' * more}\n")
        with shown_by(said.append):
            load(weights, tmp_path, templates=str(templates))
        assert (len(said) == 2) == cut, more


def test_numbers_that_are_none_are_refused(weights: Path, tmp_path: Path) -> None:
    for name, value in (("mean", "abc"), ("mean", [0.1, 0.2]), ("std", [0.1, 0.0, 0.1]), ("std", [1, 1, math.inf])):
        path = beside(weights, preprocess_cfg={name: value})
        try:
            with pytest.raises(TeacherError, match=f"the teacher's {name} .* is not three finite numbers"):
                load(weights, tmp_path)
        finally:
            path.unlink()


def test_a_name_with_quickgelu_and_a_configuration_without_are_not_one(tmp_path: Path) -> None:
    for quick in ({}, {"quick_gelu": False}):
        theirs = {name: value for name, value in open_clip.get_model_config("ViT-B-32").items() if name != "quick_gelu"}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": theirs | quick}))
        assert config_beside(tmp_path / "weights.pt", "ViT-B-32") == {"quick_gelu": False}
        with pytest.raises(TeacherError, match="describes a model with GELU, and ViT-B-32-quickgelu has QuickGELU"):
            config_beside(tmp_path / "weights.pt", "ViT-B-32-quickgelu")


def test_what_a_file_was_trained_on_goes_with_it(weights: Path, tmp_path: Path) -> None:
    """A teacher of real images is an upper bound, also where a file is all that is named."""
    assert "trained_on" not in load(weights, tmp_path).provenance
    facts = weights.with_name("weights.train.json")
    facts.write_text(json.dumps({"server_data": "holdout:500 (upper bound)", "server_data_hash": "0123456789abcdef"}))
    try:
        assert load(weights, tmp_path).provenance["trained_on"] == "holdout:500 (upper bound) 0123456789ab"
        facts.write_text("{")
        assert "trained_on" not in load(weights, tmp_path).provenance
    finally:
        facts.unlink()


def test_nobody_is_asked_for_weights_that_are_here(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> bool:
        raise AssertionError("asked over the network")

    tag = {"hf_hub": "someone/published/"}
    monkeypatch.setattr("clipfed_bench.teacher.loading.hub_reachable", asked)
    monkeypatch.setattr("clipfed_bench.teacher.loading.downloaded", lambda config: True)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, name: tag)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: str(weights))
    assert load_teacher("open_clip:published/mine", ("cat", "dog"), cache_dir=tmp_path)
