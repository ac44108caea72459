"""Find a downloadable data set by content, whatever it is stored as, or download it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipfed_bench.core.errors import AbsentError, DataError, shown
from clipfed_bench.core.network import reachable
from clipfed_bench.core.notices import notice
from clipfed_bench.data.formats import folders, official, parquet
from clipfed_bench.data.formats.search import Found, Search, distinct, walk
from clipfed_bench.data.info import Info


def find(known: Info, root: Path, download: bool = True) -> Iterator[Found]:
    """Complete copies of ``known`` under ``root``, the one to be taken first; torchvision's download if there is none.

    Without ``download`` there are none then. That there are several is said. Raises DataError: a copy is there but
    damaged or incomplete; or nothing fits and the download fails.
    """
    seen: list[str] = []
    search = Search(root, known, walk(root, seen), seen)
    ready, images = parquet.find(search), folders.find(search)
    copies = distinct([*ready, *([] if ready else official.find(search)), *images])
    if len(copies) > 1:
        others = ", ".join(shown(found.where) for found in copies[1:])
        notice(f"{known.name}: several copies; {shown(copies[0].where)} is taken, before {others}.")
    yield from copies
    if ready:
        yield from official.find(search)  # hardly ever needed
    elif not copies and search.broken:
        raise DataError(f"{known.name}: {_list(search.broken)}\nMend or remove it.")
    elif not copies and download:
        yield _download(search)


def locate(known: Info, root: Path) -> Found | None:
    """The first of :func:`find`, or None where there is none, but it can be downloaded.

    Raises DataError as :func:`find`; AbsentError where nobody answers from whom it could be had.
    """
    found = next(find(known, root, download=False), None)
    if found is None:
        seen: list[str] = []
        _check_network(Search(root, known, walk(root, seen), seen))
    return found


def _check_network(search: Search) -> None:
    url = official.published(search.known.name).url
    if not reachable(url):
        raise AbsentError(_nothing(search, f"{url} cannot be reached from here."))


def _download(search: Search) -> Found:
    from torchvision.datasets.utils import download_url

    _check_network(search)
    known, files = search.known, official.published(search.known.name)
    try:
        download_url(files.url, search.root, filename=files.archive, md5=files.md5)  # shows a progress bar
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 is a RuntimeError
        raise DataError(_nothing(search, f"downloading {files.url} failed: {error}")) from error
    return official.find(Search(search.root, known, (search.root / files.archive,)))[0]


def _nothing(search: Search, reason: str) -> str:
    known = search.known
    files = official.published(known.name)
    state = "" if search.root.is_dir() else " (no such folder)"
    return (
        f"{known.name} was not found under {search.root}{state}. Looked for:\n"
        "  - Hugging Face parquet shards, or Arrow files of save_to_disk: columns img or image, and label or "
        f"fine_label; {known.rows('train'):,} train and {known.rows('test'):,} test rows\n"
        f"  - the official archive {files.archive}, or its extracted batches {', '.join(sorted(files.names()))}\n"
        f"  - class folders: train/{known.classes[0]}/*.png, test/{known.classes[0]}/*.png and so on\n"
        f"Seen there: {_list(search.seen) if search.seen else 'nothing of the kind'}\n"
        f"And {reason}\n"
        "Name the right folder with --data-dir or the environment variable CLIPFED_BENCH_DATA."
    )


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else "".join(f"\n  - {item}" for item in items)
