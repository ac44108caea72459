"""Find a downloadable data set by content, whatever it is stored as, or download it."""

from __future__ import annotations

from pathlib import Path

from clipfed_bench.core.errors import DataError
from clipfed_bench.data.formats import folders, official, parquet
from clipfed_bench.data.formats.search import Found, Search, walk
from clipfed_bench.data.info import Info


def find(known: Info, root: Path) -> Found:
    """A complete copy of ``known`` under ``root``; torchvision's download into ``root`` if there is none.

    Raises DataError: a copy is there but damaged or incomplete; or nothing fits and the download fails.
    """
    search = Search(root, known, walk(root))
    for source in (parquet.find, official.find, folders.find):
        found = source(search)
        if found:
            return found
    if search.broken:
        raise DataError(f"{known.name}: {_list(search.broken)}\nMend or remove it.")
    return _download(search)


def _download(search: Search) -> Found:
    from torchvision.datasets.utils import download_url

    known, files = search.known, official.published(search.known.name)
    try:
        download_url(files.url, search.root, filename=files.archive, md5=files.md5)  # shows a progress bar
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 is a RuntimeError
        raise DataError(_nothing(search, f"downloading {files.url} failed: {error}")) from error
    found = official.find(Search(search.root, known, (search.root / files.archive,)))
    assert found is not None
    return found


def _nothing(search: Search, reason: str) -> str:
    known = search.known
    files = official.published(known.name)
    state = "" if search.root.is_dir() else " (no such folder)"
    return (
        f"{known.name} was not found under {search.root}{state}. Looked for:\n"
        f"  - Hugging Face parquet shards: columns img or image, and label or fine_label; {known.rows('train'):,} "
        f"train and {known.rows('test'):,} test rows\n"
        f"  - the official archive {files.archive}, or its extracted batches {', '.join(sorted(files.names()))}\n"
        f"  - class folders: train/{known.classes[0]}/*.png, test/{known.classes[0]}/*.png and so on\n"
        f"Seen there: {_list(search.seen) if search.seen else 'nothing of the kind'}\n"
        f"And {reason}\n"
        "Name the right folder with --data-dir or the environment variable CLIPFED_BENCH_DATA."
    )


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else "".join(f"\n  - {item}" for item in items)
