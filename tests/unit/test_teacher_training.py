"""Training of the local teacher: loss, split, augmentation, determinism, and the checkpoint as open_clip sees it."""

import json
import math
from dataclasses import asdict

import open_clip
import pytest
import torch
from torch.nn import functional as F

from clipfed_bench.core.errors import TeacherError
from clipfed_bench.teacher.augment import augment, cut_out, recolored, shifted
from clipfed_bench.teacher.contrastive import new_model, stratified_split, unicl_loss
from clipfed_bench.teacher.features import file_sha256
from clipfed_bench.teacher.loading import load_teacher
from clipfed_bench.teacher.recipe import Recipe
from clipfed_bench.teacher.train import train_teacher
from clipfed_bench.toolbox.images import Images, ServerData
from clipfed_bench.toolbox.rng import generator

CLASSES = ("red_thing", "green_thing")
TINY = Recipe(epochs=10, batch_size=16, width=4, depth=1, image_size=32, lr=1e-2)


def colored(count: int = 80) -> ServerData:
    """Noisy red and noisy green images: separable by color alone."""
    labels = torch.arange(count) % 2
    images = torch.randint(0, 120, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[torch.arange(count), labels] += 100
    captions = tuple(f"a {CLASSES[label].replace('_', ' ')}, number {i % 3}" for i, label in enumerate(labels.tolist()))
    return ServerData(Images(images, labels), captions, "colored", f"hash-{count}")


def test_unicl_by_hand() -> None:
    """Three pairs in the plane; the first two share a class. All by explicit sums in float64."""
    image = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64), dim=1)
    text = F.normalize(torch.tensor([[2.0, 1.0], [1.0, 0.0], [-1.0, 3.0]], dtype=torch.float64), dim=1)
    labels, scale = [0, 0, 1], 5.0
    sim = [[scale * sum(a * b for a, b in zip(u, v, strict=True)) for v in text.tolist()] for u in image.tolist()]
    total = 0.0
    for i in range(3):
        positives = [j for j in range(3) if labels[j] == labels[i]]
        row = math.log(sum(math.exp(sim[i][k]) for k in range(3)))
        column = math.log(sum(math.exp(sim[k][i]) for k in range(3)))
        total -= sum(sim[i][j] - row for j in positives) / len(positives)
        total -= sum(sim[j][i] - column for j in positives) / len(positives)
    expected = total / 3 / 2
    loss = unicl_loss(image, text, torch.tensor(labels), torch.tensor(scale, dtype=torch.float64))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_unicl_is_clips_loss_where_no_two_share_a_class() -> None:
    draw = torch.Generator().manual_seed(1)
    image, text = (F.normalize(torch.randn(6, 4, generator=draw), dim=1) for _ in range(2))
    expected = open_clip.ClipLoss()(image, text, torch.tensor(7.0))
    torch.testing.assert_close(unicl_loss(image, text, torch.arange(6), torch.tensor(7.0)), expected)


def test_split_is_stratified_and_seeded() -> None:
    labels = torch.arange(100) % 5
    training, held_out = stratified_split(labels, 5, 0.1, 0)
    assert sorted(torch.cat([training, held_out]).tolist()) == list(range(100))
    assert labels[held_out].bincount().tolist() == [2] * 5
    assert torch.equal(held_out, stratified_split(labels, 5, 0.1, 0)[1])
    assert not torch.equal(held_out, stratified_split(labels, 5, 0.1, 1)[1])
    with pytest.raises(TeacherError, match="0 images of class 5"):
        stratified_split(labels, 6, 0.1, 0)


def test_shifts_are_windows_of_the_mirrored_image() -> None:
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    moved = shifted(images, 2, generator(0, "test"))
    padded = F.pad(images, (2,) * 4, mode="reflect")
    windows = [padded[:, :, r : r + 8, c : c + 8] for r in range(5) for c in range(5)]
    assert all(any(torch.equal(moved[i], w[i]) for w in windows) for i in range(5))
    assert not torch.equal(moved, images)


def test_cutout_and_recoloring_stay_in_range() -> None:
    images = torch.rand(50, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    cut = cut_out(images, 8, generator(0, "cut"))
    changed = (cut != images).any(1).sum((1, 2))
    assert changed.max() == 64
    assert changed.min() >= 16  # at a corner a quarter of the square is left
    assert (cut[cut != images] == 0.5).all()
    new = recolored(images, 0.4, generator(0, "color"))
    assert 0 <= new.min() <= new.max() <= 1
    assert (new - images).abs().mean((1, 2, 3)).min() > 0


def test_augmentation_off_is_the_identity() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(augment(images, Recipe(crop=0, flip=False), generator(0, "x")), images)


def test_training_learns_writes_an_open_clip_checkpoint_and_repeats_itself(tmp_path) -> None:
    server, steps = colored(), []
    before = torch.random.get_rng_state()
    first = train_teacher(server, CLASSES, TINY, tmp_path / "a.safetensors", lambda *a: steps.append(a))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert steps == [(i, 10) for i in range(11)]
    assert first.metadata["held_out_images"] == 8
    assert first.metadata["held_out_accuracy"] == 1.0
    assert json.loads((tmp_path / "a.train.json").read_text()) == first.metadata

    second = train_teacher(server, CLASSES, TINY, tmp_path / "b.safetensors")
    assert file_sha256(first.path) == file_sha256(second.path)
    other = train_teacher(server, CLASSES, Recipe(**{**asdict(TINY), "seed": 1}), tmp_path / "c.safetensors")
    assert file_sha256(other.path) != file_sha256(first.path)

    open_clip.add_model_config(tmp_path / f"{first.model_name}.json")
    model, _, preprocess = open_clip.create_model_and_transforms(first.model_name, pretrained=str(first.path))
    assert preprocess.transforms[0].size == 32
    teacher = load_teacher(first.spec, CLASSES, cache_dir=tmp_path)
    tokens = open_clip.get_tokenizer(first.model_name)(["a photo of a red thing.", "a photo of a green thing."])
    with torch.no_grad():
        expected = model.eval().encode_text(tokens, normalize=True)
    torch.testing.assert_close(teacher.text_prototypes, expected)
    assert teacher.accuracy(server.data.images, server.data.labels) > 0.95


def test_initialization_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = new_model(TINY.model_config(), 0).state_dict()
    torch.manual_seed(6)
    two = new_model(TINY.model_config(), 0).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_impossible_training(tmp_path) -> None:
    with pytest.raises(TeacherError, match="72 images to train a teacher on, less than a batch of 128"):
        train_teacher(colored(), CLASSES, Recipe(batch_size=128), tmp_path / "a.safetensors")
    with pytest.raises(TeacherError, match=r"not 'a\.bin'"):
        train_teacher(colored(), CLASSES, TINY, tmp_path / "a.bin")
