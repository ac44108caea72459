"""A table as Markdown to read, and as CSV to compute with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from clipfed_bench.report.tables.table import Entry, Table

if TYPE_CHECKING:
    import pandas as pd


def render_markdown(table: Table) -> str:
    """Title, a table whose columns are aligned in plain text too, notes."""
    import pandas as pd

    headings = [*map(plain, table.headings), *(plain(" · ".join(labels)) for labels in table.col_labels)]
    rows = [
        [*map(plain, labels), *(_cell(table.entry(row, col), table, part) for col in table.cols)]
        for labels, row, part in table.lines()
    ]
    body = pd.DataFrame(rows).to_markdown(index=False, headers=headings, disable_numparse=True)
    notes = "\n".join(f"- {plain(note)}" for note in table.notes)
    return f"**{table.title}**\n\n{body}\n\n{notes}\n"


def numbers(table: Table) -> pd.DataFrame:
    """A row for each place: axes, status, seeds done and failed, and mean, std and n of each metric, as stored.

    With an interval for spread its bounds as well, with none no std. Means of differences are called so, and what was
    subtracted is a column ``against``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for row in table.rows:
        for col in table.cols:
            entry = table.entry(row, col)
            found: dict[str, Any] = dict(zip((*table.row_axes, *table.col_axes), (*row, *col), strict=True))
            found |= {} if table.against is None else {"against": table.against}
            found |= {"status": entry.status, "done": len(entry.seeds), "failed": entry.failed}
            for i, metric in enumerate(table.metrics):
                number = entry.numbers[i] if entry.numbers else None
                mean = "mean" if table.against is None else "difference"
                found[f"{metric.name}_{mean}"] = number.mean if number else None
                if table.spread != "none":
                    found[f"{metric.name}_std"] = number.std if number else None
                if table.spread in ("ci", "bootstrap", "range"):
                    bounds = number.interval if number and number.interval else (None, None)
                    found[f"{metric.name}_low"], found[f"{metric.name}_high"] = bounds
                found[f"{metric.name}_n"] = number.n if number else 0
            rows.append(found)
    return pd.DataFrame(rows)


def render_csv(table: Table) -> str:
    """:func:`numbers` in full precision; fractions, not per cent."""
    text: str = numbers(table).to_csv(index=False, lineterminator="\n")
    return text


def _cell(entry: Entry, table: Table, part: slice) -> str:
    if not entry.numbers:
        return {"failed": "failed", "missing": "–"}[entry.status]
    sign = "± " if table.spread == "std" else ""
    shown = [
        (f"**{mean}**" if best else mean) + (f" {sign}{spread}" if spread else "")
        for mean, spread, best in table.texts(entry, part)
    ]
    fewer = table.fewer(entry, part)
    return " / ".join(shown) + (f" (n={fewer})" if fewer else "")


def plain(text: str) -> str:
    """``text`` without meaning to Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
