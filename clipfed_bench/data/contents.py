"""What data sets and server data are read from, by the content of files, without decoding any. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from clipfed_bench.core.errors import DataError
from clipfed_bench.core.files import expand
from clipfed_bench.core.notices import unsaid
from clipfed_bench.core.paths import data_root
from clipfed_bench.core.sources import Look, digest
from clipfed_bench.data.catalog import base_name, info


def of_dataset(name: str, data_dir: Path | None, look: Look) -> str | None:
    """Digest of the files of data set ``name``; None for one that loads itself, as it alone knows where its images are.

    Raises UserError where it is not there, or damaged; nothing is downloaded.
    """
    known = info(name)
    if known.embedded:
        return _embedded(known.embedded, look)
    if not known.stored:
        return None
    from clipfed_bench.data.formats.find import find

    with unsaid():  # who reads it says it
        found = next(find(known, data_root(data_dir), download=False), None)
    if found is None:
        raise DataError(f"{known.name} was not found under {data_root(data_dir)}.")
    return of_files(found.where, found.files, look)


def of_server_data(spec: str, dataset: str, data_dir: Path | None, look: Look) -> str | None:
    """Digest of the files that server data ``spec`` of ``dataset`` are read from.

    Glyphs are of their code and two libraries, held-out images of the data set. None for those that a plug-in makes.
    Raises UserError where they are not there, or damaged.
    """
    if spec == "glyphs" or spec.startswith("holdout:"):
        return _versions("matplotlib", "pillow") if spec == "glyphs" else ""
    base = base_name(dataset)
    if spec == info(base).made_server_data:
        return None
    from clipfed_bench.data.formats import server_images

    if spec == info(base).server_data:
        source = server_images.by_name(base, data_root(data_dir))
    else:
        source = server_images.by_path(expand(spec, "server data"))
    return of_files(source.where, source.files, look)


def of_files(where: Path, files: Iterable[Path], look: Look) -> str:
    """Digest of names, below ``where``, and contents. Raises DataError for a file that cannot be read."""
    try:
        return digest(sorted(f"{path.relative_to(where).as_posix()} {look(path)[0]}" for path in files))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}).") from None


def _embedded(name: str, look: Look) -> str:
    """Of the file ``name`` (PACKAGE/FILE) of an installed package."""
    package, _, inner = name.partition("/")
    found = find_spec(package)
    places = (found.submodule_search_locations if found is not None else None) or ()
    paths = [path for place in places if (path := Path(place, inner)).is_file()]
    return "".join(look(path)[0] for path in paths)


def _versions(*names: str) -> str:
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)} ")
        except PackageNotFoundError:
            found.append(f"{name} none ")
    return "".join(found)
