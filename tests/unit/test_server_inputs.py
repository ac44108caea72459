"""Server data as people have them: types of columns, kinds of images, splits, and images that are not generated."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from makers.data_files import CLASSES, arrays, class_folders, parquet_folder, picture, png, write_parquet
from PIL import Image

from clipfed_bench.core.errors import DataError
from clipfed_bench.core.image_files import as_rgb
from clipfed_bench.core.notices import shown_by
from clipfed_bench.data import catalog
from clipfed_bench.data.datasets import load_dataset
from clipfed_bench.data.server_set.load import load_server_data
from clipfed_bench.data.server_set.near import near_duplicates

IMAGES, LABELS = arrays(3)["test"]
NAMES = [CLASSES[label] for label in LABELS]
TEXTS = [f"picture {i}" for i in range(len(LABELS))]
PNGS = [png(image) for image in IMAGES]
STRUCTS = [{"bytes": data, "path": None} for data in PNGS]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    known = replace(catalog.originals()["cifar10"], train=(6,) * 10, test=(2,) * 10, mean=None)
    monkeypatch.setitem(catalog.originals(), "cifar10", known)
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    parquet_folder(tmp_path / "data" / "real", arrays())


@pytest.fixture
def load(tmp_path):
    """Loads server data; with what is said of them."""
    dataset = load_dataset("cifar10", tmp_path / "data")

    def load(spec):
        said = []
        with shown_by(said.append):
            return load_server_data(str(spec), dataset, tmp_path / "data"), said

    return load


def table(path, **columns):
    own = {"img": STRUCTS, "label": NAMES} | columns
    pq.write_table(pa.table({name: value for name, value in own.items() if value is not None}), path)
    return path


TEXT = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()),
    "dictionary of large strings": pa.dictionary(pa.uint32(), pa.large_string()),
}


@pytest.mark.parametrize("kind", TEXT)
def test_text_of_every_type_is_read_as_captions_and_as_class_names(kind, load, tmp_path):
    texts, names = (pa.array(values).cast(TEXT[kind]) for values in (TEXTS, NAMES))
    server, said = load(table(tmp_path / "x.parquet", label=names, caption=texts))
    assert dict(zip(server.captions, server.data.labels.tolist(), strict=True)) == dict(zip(TEXTS, LABELS, strict=True))
    assert said == []


def test_what_pandas_writes_of_strings_and_categoricals_is_read(load, tmp_path):
    frame = pd.DataFrame({"image": STRUCTS, "label": pd.Categorical(NAMES), "text": TEXTS})
    frame.to_parquet(tmp_path / "x.parquet")
    assert set(load(tmp_path / "x.parquet")[0].captions) == set(TEXTS)


INTEGERS = [pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.uint64(), pa.dictionary(pa.int8(), pa.int64())]


@pytest.mark.parametrize("kind", INTEGERS, ids=str)
def test_integers_of_every_width_are_labels(kind, load, tmp_path):
    labels = pa.array(LABELS)
    labels = labels.dictionary_encode() if pa.types.is_dictionary(kind) else labels.cast(kind)
    server, _ = load(table(tmp_path / "x.parquet", label=labels))
    assert sorted(server.data.labels.tolist()) == sorted(LABELS)


NO_LABELS = [
    (pa.nulls(20), "20 of 20 rows have no label in column 'label'"),
    (pa.array([None, *LABELS[1:]], pa.int64()), "1 of 20 rows have no label"),
    (pa.array([None, None, *NAMES[2:]]).dictionary_encode(), "2 of 20 rows have no label"),
    (pa.array(["lorry", *NAMES[1:]]).dictionary_encode(), "'lorry' is no class"),
    (pa.array(LABELS, pa.float64()), "column 'label' is double; integers or class names are needed"),
    (pa.array([True] * 20), "column 'label' is bool"),
]


@pytest.mark.parametrize(("labels", "words"), NO_LABELS, ids=[words[:30] for _, words in NO_LABELS])
def test_labels_that_are_none_are_counted_or_named(labels, words, load, tmp_path):
    with pytest.raises(DataError, match=words):
        load(table(tmp_path / "x.parquet", label=labels))


BINARY = {
    "binary": pa.array(PNGS, pa.binary()),
    "large_binary": pa.array(PNGS, pa.large_binary()),
    "binary_view": pa.array(PNGS, pa.binary_view()),
    "dictionary": pa.array(PNGS, pa.binary()).dictionary_encode(),
    "struct of large_binary": pa.array(STRUCTS, pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
}


@pytest.mark.parametrize("kind", BINARY)
def test_bytes_of_every_type_are_images(kind, load, tmp_path):
    server, _ = load(table(tmp_path / "x.parquet", img=BINARY[kind]))
    assert {image.numpy().tobytes() for image in server.data.images} == {image.tobytes() for image in IMAGES}


NO_IMAGES = [
    (pa.nulls(20), "row 0 has no image bytes in column 'img', which is null"),
    (pa.array(["a/b.png"] * 20), "column 'img', which is string"),
    (pa.array([[1, 2]] * 20, pa.list_(pa.uint8())), "which is list<"),
    (pa.array([*STRUCTS[:19], {"bytes": None, "path": "x.png"}]), "row 19 has no image bytes"),
]


@pytest.mark.parametrize(("images", "words"), NO_IMAGES, ids=[words for _, words in NO_IMAGES])
def test_images_that_are_none_are_named_with_their_type(images, words, load, tmp_path):
    with pytest.raises(DataError, match=words):
        load(table(tmp_path / "x.parquet", img=images))


def test_a_row_without_caption_gets_one_of_its_class(load, tmp_path):
    for k, texts in enumerate((pa.array([None, "", *TEXTS[2:]]), pa.nulls(20))):
        server, said = load(table(tmp_path / f"{k}.parquet", caption=texts))
        made = [text for text in server.captions if not text.startswith("picture ")]
        assert len(made) == (2, 20)[k]
        assert all(any(name in text for name in CLASSES) for text in made)
    assert "not taken for the caption: caption (null)" in said[0]


@pytest.mark.parametrize(
    ("name", "texts", "words"),
    [
        ("description", TEXTS, "description (string)"),
        ("captions", pa.array([[t] for t in TEXTS]), "captions (list<"),
        ("caption", pa.array([[t] for t in TEXTS]), "caption (list<"),
    ],
)
def test_what_looks_like_captions_and_is_not_taken_is_named(name, texts, words, load, tmp_path):
    server, (said,) = load(table(tmp_path / "x.parquet", **{name: texts}))
    assert server.captions[0].endswith(".")
    assert words in said
    assert "needed is one of caption, text, prompt of text" in said


def test_what_looks_like_images_or_labels_is_named(load, tmp_path):
    table(tmp_path / "x.parquet", img=None, label=None, Photo=STRUCTS, class_name=NAMES)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "x.parquet")
    assert "not taken for the image: Photo (struct<" in str(caught.value)
    assert "not taken for the label: class_name (string); needed is one of fine_label, label, labels" in str(
        caught.value
    )


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return Image.open(io.BytesIO(file.getvalue()))


GRAY = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
HALF = Image.fromarray(np.dstack([GRAY, GRAY, GRAY, np.full_like(GRAY, 128)]))
PALETTE = Image.fromarray(GRAY).convert("P")
PICTURES = {
    "8 bits of gray": (Image.fromarray(GRAY), GRAY),
    "16 bits of gray": (Image.fromarray(GRAY.astype(np.uint16) * 257), GRAY),
    "12 of 16 bits, not wrapped": (Image.fromarray(np.full((8, 8), 4095, np.uint16)), np.full((8, 8), 16)),
    "one bit": (Image.fromarray(GRAY > 100), np.where(GRAY > 100, 255, 0)),
    "palette": (PALETTE, GRAY),
    "gray with alpha": (Image.fromarray(GRAY).convert("LA"), GRAY),
    "half transparent, on white": (HALF, np.round(GRAY * (128 / 255) + 127)),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_images_of_every_kind_become_8_bits_of_three_colors(kind):
    image, expected = PICTURES[kind]
    found = np.asarray(as_rgb(encoded(image)))
    assert found.shape == (8, 8, 3)
    assert np.abs(found.astype(int) - np.asarray(expected)[:, :, None]).max() <= (1 if "half" in kind else 0)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "gray with alpha", "RGBA"])
def test_colors_of_16_bits_become_8(kind, channels):
    pixels = np.repeat(GRAY[:, :, None], channels, axis=2).astype(">u2") * 257
    if channels != 3:
        pixels[:, :, -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    content = picture(8, 8, zlib.compress(rows), depth=16, kind=kind)
    assert (np.asarray(as_rgb(Image.open(io.BytesIO(content)))) == GRAY[:, :, None]).all()


def test_a_transparent_palette_and_cmyk():
    clear = np.asarray(as_rgb(encoded(PALETTE, transparency=PALETTE.getpixel((0, 0)))))
    assert clear[0, 0].tolist() == [255, 255, 255]
    assert (clear[0, 1:, 0] == GRAY[0, 1:]).all()
    cmyk = encoded(Image.fromarray(np.dstack([GRAY] * 3)).convert("CMYK"), "JPEG", quality=100)
    assert cmyk.mode == "CMYK"
    assert np.abs(np.asarray(as_rgb(cmyk)).astype(int) - GRAY[:, :, None]).max() <= 4


SPLITS = {
    "the hub's": ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"),
    "short": ("train", "val", "test"),
    "dev": ("x_train", "x_dev", "x_test"),
    "long": ("training", "testing", "evaluation"),
    "sets": ("trainset", "valset", "HeldOut"),
    "folders": ("train/0000", "validation/0000", "test/0000"),
    "one without a name": ("train-0", "extra", "valid-0"),
}


@pytest.mark.parametrize("names", SPLITS.values(), ids=SPLITS)
def test_only_the_train_split_is_taken_and_the_others_are_said(names, load, tmp_path):
    for k, name in enumerate(names):
        write_parquet(tmp_path / "set" / f"{name}.parquet", IMAGES[5 * k : 5 * k + 5], LABELS[5 * k : 5 * k + 5])
    server, (said,) = load(tmp_path / "set")
    assert {i.numpy().tobytes() for i in server.data.images} == {i.tobytes() for i in IMAGES[:5]}
    assert "its train split alone is taken (5 images); left out: " in said
    assert "(10 images)" in said or said.count("(5 images)") == len(names)


def test_splits_that_the_readme_of_the_hub_states(load, tmp_path):
    for k, name in enumerate(("a/x", "a/y", "b/x")):
        write_parquet(tmp_path / "set" / f"{name}.parquet", IMAGES[5 * k : 5 * k + 5], LABELS[5 * k : 5 * k + 5])
    files = "{split: validation, path: [a/y*, nothing]}, {split: train, path: a/x.parquet}, {split: test, path: b/*}"
    readme = tmp_path / "set" / "README.md"
    readme.write_text(f"---\nconfigs:\n- config_name: one\n  data_files: [{files}]\n---\n# x")
    server, (said,) = load(tmp_path / "set")
    assert {i.numpy().tobytes() for i in server.data.images} == {i.tobytes() for i in IMAGES[:5]}
    assert "validation (5 images)" in said
    for head in ("configs: [", "configs: 3", "license: mit", "configs:\n- {}\n- {}", "configs:\n- data_files: [1]"):
        readme.write_text(f"---\n{head}\n---\n")
        with pytest.raises(DataError, match="holds several data sets"):
            load(tmp_path / "set")


def test_splits_without_one_to_train_on_are_refused_and_a_single_one_is_what_was_meant(load, tmp_path):
    for name in ("valid", "test"):
        write_parquet(tmp_path / "set" / f"{name}.parquet", IMAGES, LABELS)
    with pytest.raises(DataError, match="holds the splits test, validation, and none called train"):
        load(tmp_path / "set")
    assert len(load(tmp_path / "set" / "valid.parquet")[0].captions) == len(LABELS)


def test_class_folders_of_other_splits_are_left_out(load, tmp_path):
    for k, name in enumerate(("train", "valid", "test")):
        class_folders(tmp_path / "data" / "cifar10-generated" / name, *arrays(5 + k)["test"])
    for spec in (tmp_path / "data" / "cifar10-generated", "cifar10-generated"):
        server, said = load(spec)
        assert {i.numpy().tobytes() for i in server.data.images} == {i.tobytes() for i in arrays(5)["test"][0]}
        assert "left out: " in said[0]
        assert "valid" in said[0]


def pictures(count, seed=0):
    """Smooth colored images with detail, (count, 3, 32, 32): as different as photos are."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        layers = [rng.integers(0, 256, (n, n, 3), dtype=np.uint8) for n in (3, 12)]
        coarse, fine = (Image.fromarray(x).resize((32, 32), Image.Resampling.BICUBIC) for x in layers)
        out.append(np.asarray(Image.blend(coarse, fine, 0.3)).transpose(2, 0, 1))
    return np.stack(out)


def again(image, format="JPEG", side=None, **options):
    whole = Image.fromarray(image.transpose(1, 2, 0))
    whole = whole.resize((side, side), Image.Resampling.BILINEAR) if side else whole
    return np.asarray(encoded(whole, format, **options).convert("RGB").resize((32, 32))).transpose(2, 0, 1)


REMADE = [{"quality": 95}, {"quality": 50}, {"format": "WEBP", "quality": 80}, {"side": 64}, {"side": 20}]


@pytest.mark.parametrize("how", REMADE, ids=str)
def test_images_that_were_made_of_others_are_found_and_others_are_not(how):
    own, foreign = pictures(200), pictures(50, seed=1)
    assert near_duplicates(np.stack([again(image, **how) for image in own[:50]]), own) >= 48
    assert near_duplicates(np.stack([again(image, **how) for image in foreign]), own) == 0
    assert near_duplicates(np.full((3, 3, 32, 32), 90, np.uint8), np.full((3, 3, 32, 32), 91, np.uint8)) == 0
    assert near_duplicates(own[:0], own) == 0


def test_clients_images_in_jpeg_are_refused_by_name_and_said_where_a_path_names_them(monkeypatch, tmp_path):
    data = {"train": (pictures(60), arrays()["train"][1]), "test": (pictures(20, 1), arrays()["test"][1])}
    parquet_folder(tmp_path / "own" / "real", data)
    dataset, remade = (
        load_dataset("cifar10", tmp_path / "own"),
        np.stack([again(i, quality=90) for i in data["train"][0]]),
    )
    write_parquet(tmp_path / "own" / "cifar10-lt-jpeg" / "train.parquet", remade[:40], data["train"][1][:40])
    with pytest.raises(DataError, match=r"neither name nor metadata say that they are generated: .*cifar10-lt-jpeg"):
        load_server_data("cifar10-generated", dataset, tmp_path / "own")
    (tmp_path / "own" / "cifar10-lt-jpeg").rename(tmp_path / "own" / "generated")
    with pytest.raises(
        DataError, match="40 of 40 images look like cifar10's own, encoded again or resized, so it is not"
    ):
        load_server_data("cifar10-generated", dataset, tmp_path / "own")
    said = []
    with shown_by(said.append):
        server = load_server_data(str(tmp_path / "own" / "generated"), dataset)
    assert server.label == "generated, but 40 of 40 images look like cifar10's own, encoded again or resized"
    assert server.label.removeprefix("generated, but ") in said[0]


@pytest.mark.parametrize(
    "metadata", [{"clipfed_bench": "{}"}, {"huggingface": json.dumps({"info": {"dataset_name": "synthetic_cifar"}})}]
)
def test_metadata_may_say_that_images_are_generated(metadata, load, tmp_path):
    path = tmp_path / "data" / "mine" / "train.parquet"
    write_parquet(path, *arrays(3)["train"])
    stored = pq.read_table(path)
    info = json.loads(stored.schema.metadata[b"huggingface"])["info"]
    both = {"info": info | json.loads(metadata.get("huggingface", "{}")).get("info", {})}
    pq.write_table(stored.replace_schema_metadata(metadata | {"huggingface": json.dumps(both)}), path)
    assert len(load("cifar10-generated")[0].captions) == 60


@pytest.mark.parametrize("name", ["not-generated", "nongenerated", "regenerated", "cifake"])
def test_a_name_that_says_something_else_is_not_taken_for_it(name, load, tmp_path):
    write_parquet(tmp_path / "data" / name / "train.parquet", *arrays(3)["train"])
    with pytest.raises(DataError, match="neither name nor metadata"):
        load("cifar10-generated")
