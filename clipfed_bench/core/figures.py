"""matplotlib as it comes: what a user's environment or matplotlibrc sets neither changes a figure nor prevents one.

Figures are made without pyplot, so that nothing is global and no display is needed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BACKENDS = {"pdf": "pdf", "png": "agg", "svg": "svg"}
FORMATS = tuple(_BACKENDS)
"""Of files."""

_DATES = {"pdf": "CreationDate", "svg": "Date"}

_SAME = {
    "text.parse_math": False,  # a $ in a name is a $
    "svg.hashsalt": "clipfed-bench",  # the same figure is the same file
    "pdf.fonttype": 42,
}


def load_matplotlib() -> ModuleType:
    """matplotlib, imported, also where ``MPLBACKEND`` names what is not installed, as a notebook's does elsewhere.

    A ``matplotlibrc`` that is no text in UTF-8 is not read.
    """
    wanted = os.environ.get("MPLBACKEND")
    if "matplotlib" not in sys.modules and wanted is not None:
        with _environment("MPLBACKEND", None):
            found = _imported()
        with contextlib.suppress(ValueError):
            found.rcParams["backend"] = wanted  # as it does itself, and as others in this process want it
    return _imported()


def _imported() -> ModuleType:
    try:
        return import_module("matplotlib")
    except UnicodeDecodeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
            del sys.modules[name]  # half of it is there
        with _environment("MATPLOTLIBRC", os.devnull):
            return import_module("matplotlib")


@contextlib.contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """The variable ``name`` is ``value``, or is not there, and afterwards is what it was."""
    before = os.environ.pop(name, None)
    os.environ.update({} if value is None else {name: value})
    try:
        yield
    finally:
        os.environ.pop(name, None)
        os.environ.update({} if before is None else {name: before})


@contextlib.contextmanager
def drawing(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Figures that are made and saved inside have matplotlib's defaults but for ``settings``, whatever was set before.

    Afterwards all is as it was.
    """
    matplotlib = load_matplotlib()
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    with matplotlib.rc_context(defaults | _SAME | dict(settings or {})):
        yield


def rendered(figure: Figure, format: str, **options: Any) -> bytes:
    """The file of ``figure``, whose backend nobody else chooses; without a date, so that it is the same another day."""
    content = BytesIO()
    dates = {_DATES[format]: None} if format in _DATES else {}
    metadata = dates | options.pop("metadata", {})
    figure.savefig(content, format=format, backend=_BACKENDS[format], metadata=metadata, **options)
    return content.getvalue()
