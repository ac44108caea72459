"""Find and read images that a server had generated: parquet shards or class folders, by name or by path."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipfed_bench.core.errors import AbsentError, DataError, UserError, shown
from clipfed_bench.core.splits import Split
from clipfed_bench.data.arrays import check_captions
from clipfed_bench.data.catalog import info
from clipfed_bench.data.class_names import overlap
from clipfed_bench.data.formats import folders, parquet
from clipfed_bench.data.formats.columns import NAMES
from clipfed_bench.data.formats.naming import path_says_generated, split_of
from clipfed_bench.data.formats.search import IMAGE_SUFFIXES, distinct, walk


@dataclass(frozen=True)
class Source:
    """Labelled images at one place."""

    where: Path
    files: tuple[Path, ...]
    read: Callable[[tuple[str, ...], int], Split]
    """Decodes and resizes, given the classes and the side."""
    notes: tuple[str, ...] = ()
    """What people should know: splits that are left out, columns that are not taken."""


def by_name(base: str, root: Path) -> Source:
    """The one set of images under ``root`` that has the classes of ``base`` and says that it was generated.

    The name of its folder says so, or of one above it up to ``root``, or of its files, or its metadata do.

    Raises DataError: nothing fits, or several do.
    """
    found, unsaid = [], []
    seen: list[str] = []
    known, files = info(base), walk(root, seen)
    for group in parquet.groups(files, root):
        seen += group.damaged + group.useless
        if not group.has_classes(known.classes):
            seen += [f"{group.folder}: parquet of other classes"] if group.splits else []
        elif any(shard.generated or path_says_generated(shard.path, root) for shard in group.shards()):
            found.append(_of_group(group))
        else:
            unsaid.append(str(group.folder))
    for folder, others in _trains(contents := folders.by_class(files)).items():
        if overlap(tuple(contents[folder]), known.classes) >= 0.5:
            if path_says_generated(folder, root):
                found.append(_of_folders(folder, contents[folder], others))
            else:
                unsaid.append(str(folder))
    found = distinct(found)
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(str(f.where) for f in found)
        raise DataError(
            f"{base}-generated: several sets of images fit: {places}. Name one by its path (--server-data)."
        )
    silent = f"With its classes, but neither name nor metadata say that they are generated: {', '.join(unsaid)}.\n"
    raise AbsentError(
        f"{base}-generated was not found under {root}. Looked for parquet shards (columns img or image, and label with "
        f"the class names {', '.join(known.classes[:3])} …) and for class folders, called generated or synthetic.\n"
        f"{silent if unsaid else ''}Seen there: {'; '.join(seen) if seen else 'nothing else of the kind'}.\n"
        "Name the folder with --data-dir or CLIPFED_BENCH_DATA, give a path as --server-data, or use real images with "
        "--server-data holdout:N (an upper bound)."
    )


def by_path(path: Path) -> Source:
    """A parquet or Arrow file, or a folder of such shards or of class folders; of several splits, ``train`` is taken.

    Raises UserError: no such path. Raises DataError: it holds no labelled images, or several splits and no ``train``.
    """
    if not os.path.exists(path):  # unlike a Path's method also for a name that is too long, and for links in a circle
        raise UserError(
            f"server data '{shown(path)}': no such file or folder, and no known name. Known: glyphs (for digits), "
            "cifar10-generated, cifar100-generated, holdout:N."
        )
    files = (path,) if path.is_file() else walk(path)
    groups = parquet.groups(files, path)
    damaged = [message for group in groups for message in group.damaged]
    if damaged:
        raise DataError(f"server data: {damaged[0]}")
    usable = [group for group in groups if group.splits]
    if usable:
        if len(usable) > 1:
            places = ", ".join(str(g.folder) for g in usable)
            raise DataError(f"server data '{path}' holds several data sets: {places}. Name one of them.")
        return _of_group(usable[0])
    contents = folders.by_class(files)
    fits = [folder for folder in _trains(contents) if path in (folder, folder.parent)]
    if not fits:
        useless = [f" {reason}." for group in groups for reason in group.useless]
        raise DataError(
            f"server data '{path}': no labelled images. A parquet or Arrow file (columns img or image, and label), a "
            f"folder of such, or class folders of images ({', '.join(sorted(IMAGE_SUFFIXES))}), in one called train if "
            f"there are several splits, are needed.{''.join(useless[:3])}"
        )
    return _of_folders(fits[0], contents[fits[0]], _trains(contents)[fits[0]])


def _trains(contents: Mapping[Path, folders.ClassFiles]) -> dict[Path, list[str]]:
    """Folders of class folders but for those of other splits than ``train``; with the names of these beside them."""
    found: dict[Path, list[str]] = {}
    for folder in contents:
        beside = [other for other in contents if other.parent == folder.parent and other != folder]
        splits = {split_of(other.name) for other in (folder, *beside)}
        if split_of(folder.name) in ("train", None) or splits == {split_of(folder.name)}:
            found[folder] = [other.name for other in beside if split_of(other.name) in ("validation", "test")]
    return found


def _of_group(group: parquet.Group) -> Source:
    """Raises DataError where it has several splits, none of which is called ``train``."""
    rows = group.rows()
    chosen = "train" if "train" in rows else next(iter(rows))
    if len(rows) > 1 and chosen != "train":
        raise DataError(
            f"server data '{group.folder}' holds the splits {', '.join(sorted(rows))}, and none called train; name the "
            "files of one of them."
        )
    shards = group.splits[chosen]
    others = [f"{n or 'files of no split'} ({count:,} images)" for n, count in rows.items() if n != chosen]
    asides = dict.fromkeys(shard.aside for shard in shards if shard.aside)
    notes = [f"server data '{group.folder}': {aside}; captions are made of class names." for aside in asides]
    return Source(
        group.folder,
        tuple(shard.path for shard in shards),
        lambda classes, side: parquet.read(shards, classes, side, resize=True),
        (*_left_out(group.folder, rows[chosen], others), *notes),
    )


def _left_out(where: Path, images: int, others: Sequence[str]) -> tuple[str, ...]:
    text = f"server data '{where}': its train split alone is taken ({images:,} images); left out: {', '.join(others)}."
    return (text,) if others else ()


def _of_folders(folder: Path, content: folders.ClassFiles, others: Sequence[str]) -> Source:
    files = [path for paths in content.values() for path in paths]
    table = next((folder / name for name in ("metadata.csv",) if (folder / name).is_file()), None)

    def read(classes: tuple[str, ...], side: int) -> Split:
        split = folders.read(content, classes, side, resize=True)
        if table is None:
            return split
        order = [path for name in sorted(content) for path in content[name]]
        captions = _captions(table)
        absent = [p for p in order if p.relative_to(folder).as_posix() not in captions]
        if absent:
            raise DataError(f"{table}: no row for {absent[0].relative_to(folder)} ({len(absent)} images have none).")
        texts = tuple(captions[p.relative_to(folder).as_posix()] for p in order)
        check_captions(texts, lambda i: f"{table}: {order[i].relative_to(folder)}")
        return replace(split, captions=texts)

    notes = _left_out(folder, len(files), others)
    return Source(folder, tuple(files if table is None else [*files, table]), read, notes)


def _captions(table: Path) -> dict[str, str]:
    """``file_name`` -> caption, of the table that the Hugging Face hub puts beside image folders."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or []
            column = next((c for c in NAMES["caption"] if c in columns), None)
            if column is None or "file_name" not in columns:
                raise DataError(
                    f"{table}: columns {shown(', '.join(columns))}; file_name and one of "
                    f"{', '.join(NAMES['caption'])} are needed."
                )
            return {row["file_name"] or "": row[column] or "" for row in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table in UTF-8 ({error}).") from error
