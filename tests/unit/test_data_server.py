"""Server data: generated, held out, glyphs; and the digits they serve."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from makers.data_files import CLASSES, arrays, class_folders, parquet_folder, write_parquet
from PIL import Image
from sklearn.datasets import load_digits as sklearn_digits

from clipfed_bench.core.errors import DataError, UserError
from clipfed_bench.data import catalog
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.digits import enlarge
from clipfed_bench.data.server_set.glyphs import font_files, render
from clipfed_bench.data.server_set.load import load_server_data, reserve_holdout


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    known = replace(catalog.originals()["cifar10"], train=(6,) * 10, test=(2,) * 10, mean=None)
    monkeypatch.setitem(catalog.originals(), "cifar10", known)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIPFED_BENCH_DATA", raising=False)


@pytest.fixture
def root(tmp_path):
    parquet_folder(tmp_path / "data" / "real", arrays())
    return tmp_path / "data"


def pixels(images):
    return sorted((i.numpy().tobytes(), int(c)) for i, c in zip(images.images, images.labels, strict=True))


def expected(images, labels):
    return sorted((i.tobytes(), int(c)) for i, c in zip(images, labels, strict=True))


def test_generated_is_found_by_its_name_and_read_whole(root):
    data = arrays(3)["train"]
    write_parquet(root / "server" / "generated" / "train-00000-of-00001.parquet", *data)
    server = load_server_data("cifar10-generated", load_dataset("cifar10", root), root)
    assert pixels(server.data) == expected(*data)
    assert server.label == "generated"
    assert server.data.images.dtype == torch.uint8
    for caption, label in zip(server.captions, server.data.labels, strict=True):
        assert CLASSES[label] in caption
    assert len({c.replace(CLASSES[i], "") for c, i in zip(server.captions, server.data.labels, strict=True)}) > 3


def test_generated_with_both_splits_is_read_to_train(root):
    parquet_folder(root / "cifar10-generated", arrays(3))
    server = load_server_data("cifar10-generated", load_dataset("cifar10", root), root)
    assert pixels(server.data) == expected(*arrays(3)["train"])


def test_generated_class_folders_are_found(root):
    class_folders(root / "pictures-synthetic", *arrays(3)["train"])
    server = load_server_data("cifar10-generated", load_dataset("cifar10", root), root)
    assert pixels(server.data) == expected(*arrays(3)["train"])


def test_generated_not_there_and_ambiguous(root):
    dataset = load_dataset("cifar10", root)
    with pytest.raises(DataError, match=r"(?s)not found under .*holdout:N"):
        load_server_data("cifar10-generated", dataset, root)
    for name in "ab":
        write_parquet(root / name / "train.parquet", *arrays(3)["train"])
    with pytest.raises(DataError, match=r"neither name nor metadata say that they are generated: .*/a, .*/b, .*/real"):
        load_server_data("cifar10-generated", dataset, root)
    for name in "ab":
        (root / name).rename(root / f"fake_{name}")
    with pytest.raises(DataError, match="several sets"):
        load_server_data("cifar10-generated", dataset, root)
    with pytest.raises(UserError, match="other classes"):
        load_server_data("cifar100-generated", dataset, root)


def test_parquet_by_path_with_captions_other_order_of_classes_and_other_size(root, tmp_path):
    names = ("truck", "cat")
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 48), dtype=np.uint8)
    images[0] = 200
    path = tmp_path / "two.parquet"
    write_parquet(path, images, [0, 1, 1, 0], names=names, captions=["a red truck", "a cat", "two cats", "a lorry"])
    server = load_server_data(str(path), load_dataset("cifar10", root), root)
    assert server.data.images.shape == (4, 3, 32, 32)
    captions = dict(zip(server.captions, server.data.labels.tolist(), strict=True))
    assert captions == {"a red truck": 9, "a cat": 3, "two cats": 3, "a lorry": 9}
    row = server.captions.index("a red truck")
    assert bool((server.data.images[row] == 200).all())


def test_class_folders_by_path_with_captions(root, tmp_path):
    images, labels = arrays(3)["test"]
    class_folders(tmp_path / "pics", images, labels)
    table = tmp_path / "pics" / "metadata.csv"
    rows = [(f"{CLASSES[c]}/{i}.png", f"picture {i}") for i, c in enumerate(labels)]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])
    dataset = load_dataset("cifar10", root)
    server = load_server_data(str(tmp_path / "pics"), dataset, root)
    for image, caption in zip(server.data.images, server.captions, strict=True):
        assert np.array_equal(image.numpy(), images[int(caption.split()[1])])
    table.write_text("file_name,text\n")
    with pytest.raises(DataError, match="no row for"):
        load_server_data(str(tmp_path / "pics"), dataset, root)


def test_wrong_class_name(root, tmp_path):
    write_parquet(tmp_path / "x.parquet", *arrays(3)["train"], names=[*CLASSES[:9], "lorrytruck"])
    with pytest.raises(DataError, match=r"'lorrytruck' is no class.*Did you mean 'truck'"):
        load_server_data(str(tmp_path / "x.parquet"), load_dataset("cifar10", root), root)


def test_label_out_of_range(root, tmp_path):
    images, labels = arrays(3)["train"]
    write_parquet(tmp_path / "x.parquet", images, labels + 1, names=None)
    with pytest.raises(DataError, match="label out of range"):
        load_server_data(str(tmp_path / "x.parquet"), load_dataset("cifar10", root), root)


@pytest.mark.parametrize("spec", ["no/such/place", "cifar10-generate"])
def test_unknown_server_data(spec, root):
    with pytest.raises(UserError, match="no such file or folder"):
        load_server_data(spec, load_dataset("cifar10", root), root)


def test_the_data_sets_own_images_are_refused(root, tmp_path):
    images, labels = (np.concatenate([arrays(3)["train"][i], arrays()["test"][i][:5]]) for i in (0, 1))
    write_parquet(tmp_path / "x.parquet", images, labels)
    with pytest.raises(DataError, match="5 of its 65 images are images of cifar10"):
        load_server_data(str(tmp_path / "x.parquet"), load_dataset("cifar10", root), root)


def test_per_class_takes_a_fixed_subset(root, tmp_path):
    dataset = load_dataset("cifar10", root)
    images, labels = arrays(3)["train"]
    write_parquet(tmp_path / "x.parquet", images, labels)
    write_parquet(tmp_path / "y.parquet", images[::-1], labels[::-1])
    two, four = (load_server_data(str(tmp_path / "x.parquet"), dataset, root, n) for n in (2, 4))
    assert four.data.labels.bincount().tolist() == [4] * 10
    assert set(pixels(two.data)) < set(pixels(four.data)) < set(expected(images, labels))
    assert load_server_data(str(tmp_path / "y.parquet"), dataset, root, 2).content_hash == two.content_hash
    assert two.content_hash != four.content_hash
    with pytest.raises(UserError, match="at least 1"):
        load_server_data(str(tmp_path / "x.parquet"), dataset, root, 0)


@pytest.mark.parametrize("name", ["cifar10", "cifar10-lt"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_holdout_and_what_the_clients_keep_are_the_whole(name, size, root):
    dataset = load_dataset(name, root, 3.0 if name == "cifar10-lt" else None)
    server, rest = load_server_data(f"holdout:{size}", dataset), reserve_holdout(dataset, f"holdout:{size}")
    assert server.data.labels.tolist() == [c for c in range(10) for _ in range(size)]
    assert server.label == f"holdout:{size} (upper bound)"
    left = pixels(rest.train) + (pixels(rest.discarded) if rest.discarded else [])
    assert sorted(left + pixels(server.data)) == expected(*arrays()["train"])
    if dataset.discarded is not None:
        spare = dataset.discarded.labels.bincount(minlength=10)
        taken = dataset.train.labels.bincount() - rest.train.labels.bincount()
        assert taken.tolist() == (size - spare).clamp(min=0).tolist()
    for label in range(10):  # the clients keep the first ones
        before, after = (part.images[part.labels == label] for part in (dataset.train, rest.train))
        assert torch.equal(before[: len(after)], after)


def test_reserve_is_the_identity_for_other_server_data(root):
    dataset = load_dataset("cifar10", root)
    assert reserve_holdout(dataset, "cifar10-generated") is dataset
    assert reserve_holdout(dataset, "glyphs") is dataset


@pytest.mark.parametrize(
    ("spec", "words"),
    [("holdout:6", "at most holdout:5"), ("holdout:", "''"), ("holdout:-1", "-1"), ("holdout:0", "'0'")],
)
def test_impossible_holdout(spec, words, root):
    with pytest.raises(UserError, match=words):
        reserve_holdout(load_dataset("cifar10", root), spec)


def test_digits():
    digits, tail = load_dataset("digits"), load_dataset("digits-lt")
    assert digits.train.images.shape == (1347, 3, 32, 32)
    assert len(digits.test) == 450
    assert digits.test.labels.bincount().min() >= 43  # stratified
    assert not set(pixels(digits.train)) & set(pixels(digits.test))
    assert torch.equal(digits.train.images[:, 0], digits.train.images[:, 2])
    assert int(digits.train.images.max()) == 255
    # Train and test together are the 1,797 originals, each once, with its label, enlarged by exact bilinear weights.
    raw = sklearn_digits()
    whole = Image.fromarray((raw.images[0] * 255 / 16).astype("f4")).resize((32, 32), Image.Resampling.BILINEAR)
    images = enlarge(raw.images)
    assert np.abs(images[0, 0] - np.asarray(whole)).max() <= 0.51
    assert sorted(pixels(digits.train) + pixels(digits.test)) == expected(images, raw.target)
    assert tail.train.labels.bincount().tolist() == [
        min(int(137 * 10 ** (-c / 9)), n) for c, n in enumerate(digits.train.labels.bincount().tolist())
    ]
    assert len(tail.train) + len(tail.discarded) == 1347
    assert len(digits.source.split()[-1]) == 64


def test_glyphs():
    digits = load_dataset("digits")
    server, again = (load_server_data("glyphs", digits, per_class=40) for _ in range(2))
    assert server.content_hash == again.content_hash
    assert server.data.labels.bincount().tolist() == [40] * 10
    assert len(set(pixels(server.data))) > 390  # they vary
    images = server.data.images.float() / 255
    assert images.mean().item() == pytest.approx(digits.mean[0], abs=0.06)  # as much ink as handwriting
    assert images.flatten(1).amax(1).min() > 0.5  # none is blank
    assert server.captions[:2] == ("a photo of a zero.", "the digit zero.")
    with pytest.raises(UserError, match="glyphs"):
        load_server_data("glyphs", replace(digits, name="cifar10"))


def test_every_font_has_ten_different_digits():
    assert len(font_files()) >= 5
    for path in font_files():
        shapes = [render(path, digit) for digit in range(10)]
        assert all(s.sum() > 100 for s in shapes)
        assert min(np.abs(a - b).sum() for i, a in enumerate(shapes) for b in shapes[:i]) > 50


def test_glyphs_teach_what_handwritten_digits_are():
    """A linear classifier on 8×8 means: far above chance on real digits."""
    from sklearn.linear_model import LogisticRegression

    digits = load_dataset("digits")
    server = load_server_data("glyphs", digits)

    def features(images):
        return torch.nn.functional.avg_pool2d(images[:, :1].float() / 255, 4).flatten(1).numpy()

    model = LogisticRegression(max_iter=200, C=0.1).fit(features(server.data.images), server.data.labels)
    assert model.score(features(digits.test.images), digits.test.labels) > 0.6
