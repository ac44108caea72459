"""What a table or a figure becomes: files, and something for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.files import write_atomically
from clipfed_bench.runs.store import RunStore

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from clipfed_bench.core.messages import Environment

_MODULES = {"fig3": "tsne", "fig4": "images", "fig5": "bands", "fig6": "curves", "fig7": "teachers"}


@dataclass(frozen=True)
class Output:
    """A table or a figure, ready to be written."""

    numbers: pd.DataFrame
    texts: dict[str, str] = field(default_factory=dict)
    """Suffix -> content of a file."""
    figure: Any = None
    screen: RenderableType | None = None


def table(name: str, cells: Sequence[CellSpec], store: RunStore) -> Output:
    """``table1`` to ``table5`` from the cells that are stored."""
    from clipfed_bench.paper.render import in_files, on_screen
    from clipfed_bench.paper.tables import paper_table
    from clipfed_bench.report.formats.latex import latex
    from clipfed_bench.report.formats.markdown import markdown
    from clipfed_bench.report.formats.terminal import screen

    made = paper_table(name, cells, store.frames([cell.key for cell in cells])[0])
    sheet = in_files(made)
    return Output(made.frame(), {"tex": latex(sheet), "md": markdown(sheet)}, screen=screen(on_screen(made)))


def figure(name: str, cells: Sequence[CellSpec], env: Environment, store: RunStore) -> Output:
    """``fig3`` to ``fig7``. Raises UserError where what it needs is not stored."""
    from clipfed_bench.report.plots.style import drawing

    with drawing():
        drawn, numbers = import_module(f"clipfed_bench.paper.figures.{_MODULES[name]}").make(cells, env, store)
    return Output(numbers, figure=drawn)


def write(folder: Path, name: str, made: Output) -> list[Path]:
    """The files of ``made`` in ``folder``, each whole or not at all; their paths."""
    from clipfed_bench.report.plots.style import drawing, save

    content = BytesIO()
    made.numbers.to_parquet(content, index=False)
    files = {"parquet": content.getvalue()} | {suffix: text.encode() for suffix, text in made.texts.items()}
    paths = []
    if made.figure is not None:
        with drawing():
            paths += save(made.figure, folder, name)
    for suffix, data in files.items():
        paths.append(folder / f"{name}.{suffix}")
        write_atomically(paths[-1], data)
    return paths
