"""Server data and trigger images that are damaged, foreign or hostile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad import refused
from damage import DATA, POSTSCRIPT
from makers.data_files import CLASSES, arrays, class_folders, parquet_folder, picture, write_parquet

pytestmark = pytest.mark.usefixtures("small_cifar")


def server(change: Callable[[Path], Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        class_folders(root, *arrays(3)["train"])
        change(root)

    return damage


def captioned(text: bytes | str) -> Callable[[Path], None]:
    """Class folders with a table of captions, of which ``text`` is the content, or the first caption's."""

    def change(root: Path) -> None:
        if isinstance(text, bytes):
            (root / "metadata.csv").write_bytes(text)
            return
        files = sorted(root.rglob("*.png"))
        rows = [f"{path.relative_to(root)},{text if path == files[0] else 'a cat'}" for path in files]
        (root / "metadata.csv").write_text("\n".join(["file_name,text", *rows]))

    return server(change)


def shards(**options: Any) -> Callable[[Path], None]:
    return lambda root: write_parquet(root / "train.parquet", *arrays(3)["train"], **options)


def undecodable(root: Path) -> None:
    shards(captions=["a cat"] * 60)(root)
    data = (root / "train.parquet").read_bytes()
    (root / "train.parquet").write_bytes(data.replace(b"a cat", b"a \xff\xfet"))


SERVER: list[tuple[str, Callable[[Path], Any], tuple[str, ...]]] = [
    ("nothing", lambda root: None, ("server data 'own': no labelled images", "class folders of images")),
    ("images without classes", lambda root: (root / "a.png").write_bytes(picture(1, 1)), ("no labelled images",)),
    ("foreign class", server(lambda p: (p / "cat").rename(p / "cats")), ("'cats' is no class", "Did you mean 'cat'?")),
    ("bomb", server(lambda p: (p / "cat" / "x.png").write_bytes(picture(8000, 8000))), ("8000×8000", "33,554,432")),
    ("no image", server(lambda p: (p / "cat" / "x.png").write_bytes(b"x")), ("cat/x.png", "none of PNG")),
    (
        "PostScript as PNG",
        server(lambda p: (p / "cat" / "x.png").write_bytes(POSTSCRIPT)),
        ("cat/x.png", "none of PNG"),
    ),
    ("two data sets", lambda r: [shards()(r / "a"), shards()(r / "b")], ("holds several data sets",)),
    ("damaged shard", lambda r: (r / "x.parquet").write_bytes(b"PAR1"), ("x.parquet", "no parquet file (4 bytes")),
    ("label out of range", shards(names=CLASSES[:3]), ("train.parquet", "label out of range", "0 to 2")),
    ("clients' images", lambda r: write_parquet(r / "t.parquet", *DATA["train"]), ("60 of its 60 images", "holdout:N")),
    ("no rows", lambda r: write_parquet(r / "t.parquet", [], []), ("no image",)),
    ("caption of a novel", captioned("x" * 2001), ("metadata.csv", "2,001 characters", "2,000")),
    ("captions in Latin-1", captioned("größer".encode("latin-1")), ("metadata.csv", "cannot be read as a table")),
    ("captions of null bytes", captioned(b"file_name,text\n\0,\0"), ("metadata.csv",)),
    ("caption of a megabyte", captioned(b"file_name,text\n" + b"x" * 200_000), ("metadata.csv", "field larger")),
    ("captions without names", captioned(b"text\na cat"), ("metadata.csv: columns text", "file_name")),
    ("captions for none", captioned(b"file_name,text\n"), ("metadata.csv: no row for", "60 images")),
    ("parquet caption of a novel", shards(captions=["x" * 2001] * 60), ("row 0", "2,001 characters")),
    ("parquet captions of no text", undecodable, ("train.parquet", "damaged")),
]


@pytest.mark.parametrize(("id", "damage", "words"), SERVER, ids=[line[0] for line in SERVER])
def test_server_data(id: str, damage: Callable[[Path], Any], words: tuple[str, ...], place: Path) -> None:
    from clipfed_bench.data.datasets import load_dataset

    parquet_folder(place / "data", DATA)
    load_dataset("cifar10")  # what is decoded is in the cache, and stays there
    (place / "own").mkdir()
    damage(place / "own")
    refused(("teacher", "train", "--dataset", "cifar10", "--data", "own", "--out", "t.safetensors"), words, place)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", ("server data 'nowhere': no such file or folder", "cifar10-generated", "holdout:N")),
        ("x" * 300, ("no such file or folder",)),
        ("~nobody-here/x", ("a user that is not known here",)),
        ("a\x1bb", ("'a\\x1bb': no such file",)),
        ("holdout:6", ("at most holdout:5",)),
        ("glyphs", ("'glyphs' shows digits",)),
        ("cifar10-generated", ("cifar10-generated was not found under", "--server-data holdout:N")),
    ],
)
def test_names_of_server_data(name: str, words: tuple[str, ...], place: Path) -> None:
    from clipfed_bench.data.datasets import load_dataset

    parquet_folder(place / "data", DATA)
    load_dataset("cifar10")
    refused(("teacher", "train", "--data", name, "--out", "t.safetensors"), words, place)


def test_trigger_images(place: Path) -> None:
    """A trigger image is opened with the same care."""
    from clipfed_bench.api import AttackContext
    from clipfed_bench.components.registry import choose, create_attack
    from clipfed_bench.core.errors import UserError

    (place / "x.png").write_bytes(POSTSCRIPT)
    (place / "bomb.png").write_bytes(picture(30_000, 30_000))
    os.mkfifo(place / "pipe.png")
    for name, words in (("x", "none of PNG"), ("bomb", "more than"), ("pipe", "no such"), ("y" * 300, "too long")):
        with pytest.raises(UserError, match=words):
            create_attack(choose("attack", "blend", image=f"{name}.png"), AttackContext(0, 10, (3, 32, 32)))
