"""With which code something is computed: digests of modules and of all that they import, with git or without.

A module counts by its tokens: comments, docstrings (any text that stands alone), blank lines and layout do not matter,
and the digest is the same under every Python that reads the file. What is no source that this Python reads (a compiled
module, say) counts by its bytes, and so does a file that a module names by a text in it, relative to its own folder.
Imports are followed wherever they stand, also in functions, but not those for type checkers alone; a name that is
computed is not seen.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import tokenize
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, lru_cache
from importlib.machinery import all_suffixes
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.paths import cache_root
from clipfed_bench.core.untrusted import read_json, reading

PROJECT = ("clipfed_bench", "attacks", "baselines", "partitions", "architectures", "data_sets")
"""Packages whose imports of each other are followed."""

_APART = ("clipfed_bench", "clipfed_bench.core.sources", "clipfed_bench.core.provenance")
"""The package's face, which hands on names of everything, and what only says where numbers are from."""

_SUFFIXES = all_suffixes()

Part = tuple[str, list[str], list[str]]
"""Of a file: its digest, what it imports (``a.b.name``, with dots in front where relative), and files it may name."""

Look = Callable[[Path], Part]
"""How files are looked at: :func:`current` or :func:`first`. Raises OSError."""


def current(path: Path) -> Part:
    """``path`` as it is now; it is read anew only where the system says that it was written since."""
    stat = path.stat()
    return _read(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))


@cache
def first(path: Path) -> Part:
    """``path`` as it was when this process looked at it for the first time, which is how it has imported it."""
    return current(path)


def digest(parts: Iterable[str]) -> str:
    """16 hexadecimal digits of the sha256 of ``parts``."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def code(*modules: str) -> str:
    """Digest of ``modules`` of the project and of all that they import, as this process has imported them."""
    return digest(lines(closure(modules, first)))


def lines(found: dict[str, str], without: Collection[str] = ()) -> list[str]:
    """``found`` but for the modules in ``without``, for :func:`digest`."""
    return [f"{name} {value}" for name, value in sorted(found.items()) if name not in without]


def closure(modules: Iterable[str], look: Look, without: Collection[str] = ()) -> dict[str, str]:
    """Own modules that ``modules`` come to, themselves included, and the files they name -> digests.

    Own are those of the project, and for a module of another package those of its distribution, or of its folder where
    that is no place of installed packages. Modules in ``without``, and those inside of them, are left out.
    """
    waiting = [package for name in modules for package in _inward(name)]
    seen, found, homes = set[str](), dict[str, str](), {name.partition(".")[0] for name in waiting}
    listed = cache(_listed)
    own = cache(
        lambda top: top in homes.union(PROJECT) or any(_sibling(top, home) for home in homes.difference(PROJECT))
    )
    while waiting:
        name = waiting.pop()
        if name in seen or name in _APART or any(f"{name}.".startswith(f"{other}.") for other in without):
            continue
        seen.add(name)
        if not own(name.partition(".")[0]) or (path := _file(name, listed)) is None:
            continue
        with contextlib.suppress(OSError):
            found[name], imports, files = look(path)
            package = name if path.stem == "__init__" else name.rpartition(".")[0]
            for imported in imports:
                waiting += _inward(_absolute(imported, package))
            for text in files:
                with contextlib.suppress(OSError, ValueError):
                    found[f"{name}/{text}"] = look(path.parent / text)[0]
    _keep()
    return found


def _inward(name: str) -> list[str]:
    """``a``, ``a.b`` and ``a.b.c`` of ``a.b.c``: what is imported with it, from the outermost package."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _absolute(imported: str, package: str) -> str:
    name = imported.lstrip(".")
    up = len(imported) - len(name)
    if not up:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) + 1 - up], name])


def _sibling(top: str, home: str) -> bool:
    """Whether ``top`` belongs to the plug-in whose package or module is ``home``."""
    folder, other = _folder(home), _folder(top)
    if folder is None or folder != other:
        return False
    if next(folder.glob("*.dist-info"), None) is None:
        return True
    groups = (f"clipfed_bench.{kind}s" for kind in ("attack", "defense", "dataset", "partition", "model"))
    entries = (entry for group in groups for entry in entry_points(group=group) if entry.value.split(".")[0] == home)
    files = (file for entry in entries if entry.dist is not None for file in entry.dist.files or ())
    return any(file.parts[0] in (top, f"{top}.py") for file in files)


def _folder(top: str) -> Path | None:
    path = _file(top)
    return None if path is None else path.parent.parent if path.stem == "__init__" else path.parent


def _listed(folder: str) -> frozenset[str]:
    """Names in ``folder``; most of what is imported is no module but something in one, and this says so at once."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _file(name: str, listed: Callable[[str], frozenset[str]] = _listed) -> Path | None:
    """Where module ``name`` is, found without importing anything; None where there is none, or in no file."""
    top, *inner = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not inner:
        return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    for place in spec.submodule_search_locations or ():
        folder = os.path.join(place, *inner[:-1])
        there = listed(folder)
        within = [os.path.join(inner[-1], "__init__.py")] if inner[-1] in there else []
        for found in (*within, *(f for f in (inner[-1] + suffix for suffix in _SUFFIXES) if f in there)):
            if os.path.isfile(path := os.path.join(folder, found)):
                return Path(path)
    return None


@lru_cache(maxsize=200_000)
def _read(path: Path, stat: tuple[int, ...]) -> Part:
    if path.suffix != ".py":
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), [], []
    content = path.read_bytes().replace(b"\r\n", b"\n")
    key = hashlib.sha256(content).hexdigest()
    known = _remembered(cache_root())
    if key not in known:
        try:
            with reading():
                tree = ast.parse(content)
                texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
                files = {t for t in texts if isinstance(t, str) and re.fullmatch(r"[^\n:*?]{1,150}\.\w{1,10}", t)}
                known[key] = digest(_tokens(content)), sorted(set(_imports(tree))), sorted(files)
        except DamagedFileError:  # for a later Python, or for none
            known[key] = key, [], []
        _new.append(key)
    return known[key]


_new: list[str] = []
"""Keys of what was read since it was last kept."""


@cache
def _remembered(folder: Path) -> dict[str, Part]:
    """What files of each content come to: it takes a while to find out, and is true for ever."""
    with contextlib.suppress(OSError, DamagedFileError), reading():
        stored = read_json(folder / "sources-1.json")
        if len(stored) < 3000:
            return {
                str(key): (str(one), [*map(str, two)], [*map(str, three)]) for key, (one, two, three) in stored.items()
            }
    return {}


def _keep() -> None:
    if _new:
        _new.clear()
        folder = cache_root()
        with contextlib.suppress(UserError):
            write_atomically(folder / "sources-1.json", json.dumps(_remembered(folder)).encode())


def _tokens(content: bytes) -> Iterator[str]:
    """The text of each token that matters; an f-string is one, which it was not before Python 3.12, or after."""
    encoding = tokenize.detect_encoding(io.BytesIO(content).readline)[0]
    text = [f"{line}\n" for line in content.decode(encoding).split("\n")]
    statement: list[tuple[str, bool]] = []
    depth, start = 0, (0, 0)
    for token in tokenize.tokenize(io.BytesIO(content).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):
            depth, start = depth + 1, token.start if depth == 0 else start
        if depth == 0 and name not in ("COMMENT", "NL", "ENCODING", "ENDMARKER"):
            bare = name in ("NEWLINE", "INDENT", "DEDENT")
            plain = name == "STRING" and not set("fF") & set(token.string.partition(token.string[-1])[0])
            statement.append((f"\0{name}" if bare else token.string, plain or bare))
        elif name.endswith("STRING_END"):
            depth -= 1
            if depth == 0:
                statement.append((_span(text, start, token.end), False))
        if name == "NEWLINE" and depth == 0:
            effect = not all(idle for _, idle in statement)  # text alone has none
            yield from (word for word, _ in statement if effect or word in ("\0INDENT", "\0DEDENT"))
            statement.clear()
    yield from (word for word, _ in statement)


def _span(text: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return text[start[0] - 1][start[1] : end[1]]
    return "".join([text[start[0] - 1][start[1] :], *text[start[0] : end[0] - 1], text[end[0] - 1][: end[1]]])


def _imports(tree: ast.AST) -> Iterator[str]:
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}{'.' if node.module else ''}{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            named = node.args[0] if node.args else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield named.value
        waiting += ast.iter_child_nodes(node)


def _called(node: ast.AST) -> str:
    """The name, or the last of several, that ``node`` is."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
