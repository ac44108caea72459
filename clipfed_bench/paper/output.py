"""The files of a table or a figure of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path

from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.messages import Environment
from clipfed_bench.paper.render import in_files, on_screen
from clipfed_bench.paper.tables import LAYOUTS, paper_table
from clipfed_bench.report.formats.latex import latex
from clipfed_bench.report.formats.markdown import markdown
from clipfed_bench.report.formats.sheet import Sheet
from clipfed_bench.report.plots.style import drawing, remark, save
from clipfed_bench.report.tables.table import plain_records
from clipfed_bench.report.tables.versions import versions
from clipfed_bench.runs.store import RunStore

_FIGURES = {"fig3": "tsne", "fig4": "images", "fig5": "bands", "fig6": "curves", "fig7": "teachers"}


def write(
    name: str, cells: Sequence[CellSpec], env: Environment, store: RunStore, admissible: float, bounds: bool = False
) -> tuple[list[Path], Sheet | None]:
    """Write ``table1`` … ``fig7`` of what is stored of ``cells``; the paths, and of a table what a terminal shows.

    Each file is written whole or not at all. Raises UserError where what a figure needs is not stored.
    """
    folder, shown = store.folder / "paper", None
    paths, texts = [], {}
    if name in LAYOUTS:
        made = paper_table(name, cells, store.frames([cell.key for cell in cells])[0], admissible, bounds)
        numbers, sheet, shown = made.frame(), in_files(made), on_screen(made)
        texts = {"tex": latex(sheet), "md": markdown(sheet)}
    else:
        with drawing():
            figure, numbers = import_module(f"clipfed_bench.paper.figures.{_FIGURES[name]}").make(cells, env, store)
            remark(figure, versions(plain_records(store.frames([cell.key for cell in cells])[0])))
            paths += save(figure, folder, name)
    content = BytesIO()
    numbers.to_parquet(content, index=False)
    for suffix, data in {"parquet": content.getvalue(), **{s: text.encode() for s, text in texts.items()}}.items():
        paths.append(folder / f"{name}.{suffix}")
        write_atomically(paths[-1], data)
    return paths, shown
