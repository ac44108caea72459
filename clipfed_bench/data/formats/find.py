"""Find a data set in files by content, whatever it is stored as, or download it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipfed_bench.core.errors import AbsentError, DataError, shown
from clipfed_bench.core.network import reachable
from clipfed_bench.core.notices import notice
from clipfed_bench.data.formats.official import Official
from clipfed_bench.data.formats.search import Form, Found, Search, distinct, walk
from clipfed_bench.data.info import Info
from clipfed_bench.data.plugin_sets import source


def find(known: Info, root: Path, download: bool = True) -> Iterator[Found]:
    """Complete copies of ``known`` under ``root``, the one to be taken first; else what is downloaded, if it can be.

    Without ``download`` there are none then. That there are several is said. Raises DataError: a copy is there but
    damaged or incomplete; or nothing fits and it cannot be downloaded.
    """
    search, none = _search(known, root), True
    for copy in _there(search):
        none = False
        yield copy
    if none and download:
        yield from _download(search)


def _there(search: Search) -> Iterator[Found]:
    """As :func:`find` without a download; the search has noted what else it saw."""
    known, forms = search.known, _forms(search.known)
    found: list[Found] = []
    left: list[Form] = []
    for form in forms:
        if form.spare and found:
            left.append(form)
        else:
            found += form.find(search)
    copies = distinct(found)
    if len(copies) > 1:
        others = ", ".join(shown(copy.where) for copy in copies[1:])
        notice(f"{known.name}: several copies; {shown(copies[0].where)} is taken, before {others}.")
    yield from copies
    for form in left:
        yield from form.find(search)  # hardly ever needed
    if not copies and search.broken:
        raise DataError(f"{known.name}: {_list(search.broken)}\nMend or remove it.")


def locate(known: Info, root: Path) -> Found | None:
    """The first of :func:`find`, or None where there is none, but it can be downloaded.

    Raises DataError as :func:`find`; AbsentError where nobody answers from whom it could be had.
    """
    search = _search(known, root)
    found = next(_there(search), None)
    if found is None:
        _remote(search)
    return found


def published(known: Info) -> Official | None:
    """Where ``known`` is downloaded from, if it can be."""
    return next((form.published(known) for form in _forms(known) if form.published is not None), None)


def _search(known: Info, root: Path) -> Search:
    seen: list[str] = []
    return Search(root, known, walk(root, seen), seen)


def _forms(known: Info) -> tuple[Form, ...]:
    return source(known).forms


def _remote(search: Search) -> Official:
    """Where the data set is downloaded from. Raises AbsentError where it cannot be."""
    remote = published(search.known)
    if remote is None:
        raise AbsentError(_nothing(search, f"it is not downloaded by itself. {source(search.known).obtain}".strip()))
    if not reachable(remote.url):
        raise AbsentError(_nothing(search, f"{remote.url} cannot be reached from here."))
    return remote


def _download(search: Search) -> list[Found]:
    files, forms = _remote(search), _forms(search.known)
    from torchvision.datasets.utils import download_url

    try:
        download_url(files.url, search.root, filename=files.archive, md5=files.md5)  # shows a progress bar
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 is a RuntimeError
        raise DataError(_nothing(search, f"downloading {files.url} failed: {error}")) from error
    fetched = Search(search.root, search.known, (search.root / files.archive,))
    return [copy for form in forms if form.published is not None for copy in form.find(fetched)][:1]


def _nothing(search: Search, reason: str) -> str:
    known = search.known
    state = "" if search.root.is_dir() else " (no such folder)"
    wanted = "".join(f"  - {form.wanted(known)}\n" for form in _forms(known))
    return (
        f"{known.name} was not found under {search.root}{state}. Looked for:\n"
        f"{wanted}"
        f"Seen there: {_list(search.seen) if search.seen else 'nothing of the kind'}\n"
        f"And {reason}\n"
        "Name the right folder with --data-dir or the environment variable CLIPFED_BENCH_DATA."
    )


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else "".join(f"\n  - {item}" for item in items)
