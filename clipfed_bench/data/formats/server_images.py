"""Find and read images that a server had generated: parquet shards or class folders, by name or by path."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from clipfed_bench.core.errors import DataError, UserError, shown
from clipfed_bench.core.splits import Split
from clipfed_bench.data.arrays import check_captions
from clipfed_bench.data.catalog import KNOWN
from clipfed_bench.data.class_names import overlap
from clipfed_bench.data.formats import folders, parquet
from clipfed_bench.data.formats.search import IMAGE_SUFFIXES, walk

_CAPTION_COLUMNS = ("caption", "text", "prompt")


@dataclass(frozen=True)
class Source:
    """Labelled images at one place."""

    where: Path
    files: tuple[Path, ...]
    read: Callable[[tuple[str, ...], int], Split]
    """Decodes and resizes, given the classes and the side."""


def by_name(base: str, root: Path) -> Source:
    """The one set of images under ``root`` that has the classes of ``base`` but is not that data set itself.

    Told by content: the class names fit, and it is not both splits with the real number of rows. Of several, the one
    whose folder is named "generated" is taken.

    Raises DataError: nothing fits, or several do.
    """
    known = KNOWN[base]
    files = walk(root)
    real = {split: known.rows(split) for split in ("train", "test")}
    found, seen = [], []
    for group in parquet.groups(files):
        seen += group.damaged
        if group.has_classes(known.classes) and (group.rows() != real or _named(group.folder)):
            found.append(_of_group(group))
        elif group.splits:
            seen.append(f"{group.folder}: parquet of other classes, or {base} itself")
    for folder, content in folders.by_class(files).items():
        is_split = folder.name in ("train", "test") and (folder.parent / "test").is_dir()
        if overlap(tuple(content), known.classes) >= 0.5 and not (is_split and not _named(folder.parent)):
            found.append(_of_folders(folder, content))
    found = [f for f in found if _named(f.where) or _named(f.where.parent)] or found
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(f.where) for f in found)
        raise DataError(
            f"{base}-generated: several sets of images fit: {places}. Name one by its path (--server-data)."
        )
    raise DataError(
        f"{base}-generated was not found under {root}. Looked for parquet shards (columns img or image, and label with "
        f"the class names {', '.join(known.classes[:3])} … in the schema) and for class folders.\n"
        f"Seen there: {'; '.join(seen) if seen else 'nothing of the kind'}.\n"
        "Name the folder with --data-dir or CLIPFED_BENCH_DATA, give a path as --server-data, or use real images with "
        "--server-data holdout:N (an upper bound)."
    )


def by_path(path: Path) -> Source:
    """A parquet file, or a folder of parquet shards or of class folders; of several splits, ``train`` is taken.

    Raises UserError: no such path. Raises DataError: it holds no labelled images.
    """
    if not _exists(path):
        raise UserError(
            f"server data '{shown(path)}': no such file or folder, and no known name. Known: glyphs (for digits), "
            "cifar10-generated, cifar100-generated, holdout:N."
        )
    files = (path,) if path.is_file() else walk(path)
    groups = parquet.groups(files)
    damaged = [message for group in groups for message in group.damaged]
    if damaged:
        raise DataError(f"server data: {damaged[0]}")
    if groups:
        if len(groups) > 1:
            places = ", ".join(str(g.folder) for g in groups)
            raise DataError(f"server data '{path}' holds several data sets: {places}. Name one of them.")
        return _of_group(groups[0])
    contents = folders.by_class(files)
    chosen = next((f for f in (path, path / "train") if f in contents), None)
    if chosen is None:
        raise DataError(
            f"server data '{path}': no labelled images. A parquet file (columns img or image, and label), a folder of "
            f"such, or class folders of images ({', '.join(sorted(IMAGE_SUFFIXES))}) are needed."
        )
    return _of_folders(chosen, contents[chosen])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, links in a circle
        return False


def _named(folder: Path) -> bool:
    return "generated" in folder.name.lower()


def _of_group(group: parquet.Group) -> Source:
    shards = group.splits.get("train") or group.shards()
    files = tuple(shard.path for shard in shards)
    return Source(group.folder, files, lambda classes, side: parquet.read(shards, classes, side, resize=True))


def _of_folders(folder: Path, content: folders.ClassFiles) -> Source:
    files = [path for paths in content.values() for path in paths]
    table = folder / "metadata.csv"
    captioned = table.is_file()

    def read(classes: tuple[str, ...], side: int) -> Split:
        split = folders.read(content, classes, side, resize=True)
        if not captioned:
            return split
        order = [path for name in sorted(content) for path in content[name]]
        captions = _captions(table)
        absent = [p for p in order if p.relative_to(folder).as_posix() not in captions]
        if absent:
            raise DataError(f"{table}: no row for {absent[0].relative_to(folder)} ({len(absent)} images have none).")
        texts = tuple(captions[p.relative_to(folder).as_posix()] for p in order)
        check_captions(texts, lambda i: f"{table}: {order[i].relative_to(folder)}")
        return replace(split, captions=texts)

    return Source(folder, tuple([*files, table] if captioned else files), read)


def _captions(table: Path) -> dict[str, str]:
    """``file_name`` -> caption, of the ``metadata.csv`` that the Hugging Face hub puts beside image folders."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            column = next((c for c in _CAPTION_COLUMNS if c in columns), None)
            if column is None or "file_name" not in columns:
                raise DataError(
                    f"{table}: columns {shown(', '.join(columns))}; file_name and one of "
                    f"{', '.join(_CAPTION_COLUMNS)} are needed."
                )
            return {row["file_name"] or "": row[column] or "" for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table in UTF-8 ({error}).") from error
