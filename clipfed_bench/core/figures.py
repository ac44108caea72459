"""matplotlib as it comes: what a user's environment or matplotlibrc sets neither changes a figure nor prevents one.

Figures are made without pyplot, so that nothing is global and no display is needed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
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
    """matplotlib, imported, also where ``MPLBACKEND`` names what is not installed, as a notebook's does elsewhere."""
    if "matplotlib" not in sys.modules and (wanted := os.environ.pop("MPLBACKEND", None)) is not None:
        try:
            import matplotlib

            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = wanted  # as it does itself, and as others in this process want it
        finally:
            os.environ["MPLBACKEND"] = wanted
    import matplotlib

    found: ModuleType = matplotlib
    return found


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
