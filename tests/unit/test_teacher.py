"""The frozen teacher: features, prototypes, preprocessing, the cache, and what happens when it cannot be loaded."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError
from clipfed_bench.teacher.features import TensorCache
from clipfed_bench.teacher.loading import load_teacher
from clipfed_bench.teacher.preprocess import Preprocess
from clipfed_bench.teacher.prompts import TEMPLATES
from clipfed_bench.toolbox.images import Images, ServerData

CLASSES = ("cat", "aquarium_fish", "dog")
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 40, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
NAME = "tiny-teacher-of-the-tests"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A small random open_clip model as a checkpoint, its configuration beside it."""
    folder = tmp_path_factory.mktemp("teacher")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**CONFIG)
    path = folder / "tiny.safetensors"
    save_file(model.state_dict(), path)
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def load(checkpoint: Path, cache: Path, **options):
    return load_teacher(f"open_clip:{NAME}@{checkpoint}", CLASSES, cache_dir=cache, **options)


def test_equals_open_clip(checkpoint, images, tmp_path) -> None:
    """Features, prototypes and logits against open_clip's own transform, tokenizer and model, image by image."""
    teacher = load(checkpoint, tmp_path, templates="openai-cifar")
    model, _, transform = open_clip.create_model_and_transforms(NAME, pretrained=str(checkpoint))
    tokenizer = open_clip.get_tokenizer(NAME)
    model.eval()
    pils = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    with torch.no_grad():
        features = F.normalize(model.encode_image(torch.stack([transform(pil) for pil in pils])), dim=1)
        prototypes = []
        for name in ("cat", "aquarium fish", "dog"):
            texts = [t.format(name) for t in TEMPLATES["openai-cifar"]]
            mean = F.normalize(model.encode_text(tokenizer(texts)), dim=1).mean(0)
            prototypes.append(mean / mean.norm())
    prototypes = torch.stack(prototypes)
    ours = teacher.image_features(images)
    assert ours.dtype == torch.float32
    assert ours.shape == (64, 16)
    torch.testing.assert_close(ours.norm(dim=1), torch.ones(64))
    assert (ours * features).sum(1).min() > 0.9995  # PIL rounds to 8 bits after resizing
    torch.testing.assert_close(teacher.text_prototypes, prototypes)
    assert teacher.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    torch.testing.assert_close(teacher.zero_shot_logits(ours), teacher.logit_scale * ours @ prototypes.T)
    labels = (ours @ prototypes.T).argmax(1)
    assert teacher.accuracy(images, labels) == 1.0
    assert teacher.accuracy(images, (labels + 1) % 3) == 0.0


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize(("shape", "size"), [(32, 224), (32, 64), (32, 24), (28, (48, 64)), (64, 32), (24, 24)])
def test_preprocessing_equals_open_clips(
    mode: str, interpolation: str, shape: int, size: int | tuple[int, int]
) -> None:
    """Noise and a trigger's edges, level by level: Pillow's weights have 22 bits, so a few pixels round otherwise."""
    config = open_clip.transform.PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation)
    images = torch.randint(0, 256, (4, 3, shape, shape), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    images[:2, :, -3:, -3:] = 255
    images[1:3, :, :2, :2] = 0
    theirs = open_clip.transform.image_transform_v2(config, is_train=False)
    expected = torch.stack([theirs(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images])
    levels = (
        (Preprocess.of(config.__dict__)(images.float() / 255) - expected).abs()
        * torch.tensor(config.std).view(3, 1, 1)
        * 255
    )
    assert levels.max() < 2.01
    assert (levels > 0.5).double().mean() < 0.06


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize("size", [64, 24, (40, 32)])
def test_preprocessing_of_tall_images_equals_open_clips(mode: str, size: int | tuple[int, int]) -> None:
    """Sides and crop; within the half steps that Pillow rounds by, whichever side it begins with."""
    config = open_clip.transform.PreprocessCfg(size=size, resize_mode=mode)
    noise = torch.rand(3, 48, 36, generator=torch.Generator().manual_seed(2))
    image = (F.avg_pool2d(noise[None], 3, 1, 1)[0] * 255).round().to(torch.uint8)
    theirs = open_clip.transform.image_transform_v2(config, is_train=False)
    expected = theirs(Image.fromarray(image.permute(1, 2, 0).numpy()))
    difference = (Preprocess.of(config.__dict__)(image[None].float() / 255)[0] - expected).abs()
    assert difference.max() <= 1.2 / 255 / min(config.std)


@pytest.mark.parametrize(("name", "value"), [("resize_mode", "longest"), ("interpolation", "random")])
def test_preprocessing_that_is_not_there_is_refused(name: str, value: str) -> None:
    config = open_clip.transform.PreprocessCfg(**{name: value})
    with pytest.raises(TeacherError, match=f"'{value}' is not supported"):
        Preprocess.of(config.__dict__)


def test_float_images_give_the_same_features(checkpoint, images, tmp_path) -> None:
    teacher = load(checkpoint, tmp_path)
    torch.testing.assert_close(teacher.image_features(images.float() / 255), teacher.image_features(images))


def test_features_are_computed_once(checkpoint, images, tmp_path, monkeypatch) -> None:
    first = load(checkpoint, tmp_path)
    features = first.image_features(images)
    assert first.computed == 64
    assert torch.equal(first.image_features(images), features)
    assert first.computed == 64
    first.image_features(images[:10])  # other images
    assert first.computed == 74
    first.image_features(images[:10], cached=False)
    assert first.computed == 84

    # A second process's teacher finds everything, and never even builds the model.
    monkeypatch.setattr(open_clip, "create_model", lambda *a, **k: pytest.fail("the model was built"))
    second = load(checkpoint, tmp_path)
    assert torch.equal(second.image_features(images), features)
    assert torch.equal(second.text_prototypes, first.text_prototypes)
    assert second.computed == 0
    assert second.identity == first.identity


def test_progress_counts_images_that_are_computed(checkpoint, images, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("clipfed_bench.teacher.teacher.BATCH", 24)
    told: list[tuple[int, int]] = []
    teacher = load(checkpoint, tmp_path)
    teacher.progress = lambda done, total: told.append((done, total))
    for _ in range(2):  # the second finds them
        teacher.image_features(images)
    assert told[-1] == (64, 64)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) >= 3


def test_another_checkpoint_shares_nothing(checkpoint, images, tmp_path) -> None:
    first = load(checkpoint, tmp_path)
    first.image_features(images)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_file(open_clip.CLIP(**CONFIG).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / f"{NAME}.json").write_text(json.dumps(CONFIG))
    second = load(tmp_path / "other.safetensors", tmp_path)
    assert second.identity != first.identity
    assert not torch.equal(second.image_features(images), first.image_features(images))
    assert second.computed == 64


def test_a_damaged_cache_file_is_computed_anew(checkpoint, images, tmp_path) -> None:
    features = load(checkpoint, tmp_path).image_features(images)
    for path in (tmp_path / "features").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    teacher = load(checkpoint, tmp_path)
    assert torch.equal(teacher.image_features(images), features)
    assert teacher.computed == 64


def test_a_cache_that_cannot_be_written_does_not_stop_anything(checkpoint, images, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert load(checkpoint, blocked).image_features(images).shape == (64, 16)


def test_of_two_that_miss_at_once_one_computes(tmp_path) -> None:
    """Two caches on one folder, as two processes have: the lock is on a file."""
    built, start = [], threading.Barrier(2)

    def build() -> dict[str, torch.Tensor]:
        built.append(threading.get_ident())
        time.sleep(0.3)
        return {"x": torch.arange(3.0)}

    def work(_: int) -> torch.Tensor:
        cache = TensorCache(tmp_path / "features")
        start.wait()
        return cache.get("key", build)["x"]

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(work, range(2)))
    assert len(built) == 1
    assert all(torch.equal(result, torch.arange(3.0)) for result in results)


def test_loading_leaves_global_randomness_alone(checkpoint, images, tmp_path) -> None:
    before = torch.random.get_rng_state()
    load(checkpoint, tmp_path).image_features(images)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_provenance(checkpoint, tmp_path) -> None:
    provenance = load(checkpoint, tmp_path, templates="openai-cifar").provenance
    assert provenance["name"] == f"open_clip:{NAME}@{checkpoint}"
    assert provenance["templates"] == "openai-cifar"
    assert len(provenance["checkpoint"]) == 64


WAYS = r"(?s)Ways out.*HF_HOME.*open_clip:MODEL@.*--teacher local.*teacher train"


def test_no_network_is_said_quickly(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read from the environment at import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(
        TeacherError, match="'open_clip:ViT-L-14/openai': its weights are not here, and nobody"
    ) as error:
        load_teacher("open_clip:ViT-L-14/openai", CLASSES, cache_dir=tmp_path)
    assert error.match(WAYS)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("open_clip:ViT-L14/openai", "does not know the model 'ViT-L14'.*Did you mean 'ViT-L-14'"),
        ("open_clip:ViT-L-14/opneai", "no weights 'opneai' for ViT-L-14.*Did you mean 'openai'"),
        ("open_clip:ViT-L-14@/nowhere/x.pt", "there is no file '/nowhere/x.pt'"),
    ],
)
def test_what_does_not_exist_is_said(spec: str, message: str, tmp_path) -> None:
    with pytest.raises(TeacherError, match=message) as error:
        load_teacher(spec, CLASSES, cache_dir=tmp_path)
    assert error.match(WAYS)


def test_wrong_checkpoints(checkpoint, tmp_path) -> None:
    (tmp_path / f"{NAME}.json").write_text(json.dumps(CONFIG))
    garbage = tmp_path / "garbage.pt"
    garbage.write_bytes(b"not a checkpoint")
    with pytest.raises(TeacherError, match=rf"'{garbage}' does not load as {NAME}"):
        load(garbage, tmp_path)
    save_file({"a": torch.zeros(2)}, tmp_path / "alien.safetensors")
    with pytest.raises(TeacherError, match=WAYS):
        load(tmp_path / "alien.safetensors", tmp_path)
    with pytest.raises(TeacherError, match=r"unheard-of.*no unheard-of\.json beside"):
        load_teacher(f"open_clip:unheard-of@{checkpoint}", CLASSES, cache_dir=tmp_path)


def test_a_pickle_with_code_is_not_run(tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / f"{NAME}.json").write_text(json.dumps(CONFIG))
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(TeacherError, match="weights_only"):
        load(tmp_path / "evil.pt", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_local_is_trained_once_and_needs_server_data(tmp_path) -> None:
    labels = torch.arange(40) % 2
    server = ServerData(
        Images(torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), labels), ("a cat.", "a dog.") * 20, "x", "h"
    )
    spec, steps = "local[epochs=1,batch_size=16,width=2,depth=1,image_size=32]", []
    with pytest.raises(TeacherError, match="trained on server data, and none was given"):
        load_teacher(spec, ("cat", "dog"), cache_dir=tmp_path)
    options = {"server_data": server, "cache_dir": tmp_path, "progress": lambda *step: steps.append(step)}
    first = load_teacher(spec, ("cat", "dog"), **options)
    assert steps == [(0, 1), (1, 1)]
    second = load_teacher(spec, ("cat", "dog"), **options)
    assert steps == [(0, 1), (1, 1)]
    assert first.identity == second.identity
    assert 0 <= float(first.provenance["held_out_accuracy"]) <= 1
    assert first.provenance["trained_on"] == "x h"
    load_teacher(spec.replace("epochs=1", "epochs=1,seed=1"), ("cat", "dog"), **options)
    assert len(steps) == 4


def test_a_tags_own_normalization_and_activation_are_used(checkpoint, images, tmp_path, monkeypatch) -> None:
    """OpenAI's weights need QuickGELU and others their own mean: open_clip keeps both with the tag."""
    tag = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "quick_gelu": True}
    load(checkpoint, tmp_path)  # registers the configuration
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, name: tag if name == "mine" else {})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda config: str(checkpoint))
    teacher = load_teacher(f"open_clip:{NAME}/mine", CLASSES, cache_dir=tmp_path)
    model = open_clip.create_model(NAME, pretrained=str(checkpoint), force_quick_gelu=True).eval()
    inputs = Preprocess((40, 40), tag["mean"], tag["std"])(images.float() / 255)
    with torch.no_grad():
        expected = model.encode_image(inputs, normalize=True)
    torch.testing.assert_close(teacher.image_features(images), expected)
    assert teacher.provenance["tag"] == "mine"
    plain = load(checkpoint, tmp_path)
    assert plain.identity != teacher.identity
    assert not torch.allclose(plain.image_features(images), expected, atol=1e-3)
