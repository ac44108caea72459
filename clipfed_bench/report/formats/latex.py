"""A table as a LaTeX document that compiles as it is; its tabular needs booktabs and multirow where it is copied to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from clipfed_bench.report.tables.table import Entry, Table

if TYPE_CHECKING:
    import pandas as pd

_ESCAPES = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after a row's end a bare [ would begin an option
    "]": "{]}",
    "–": r"\textendash{}",
    "±": r"$\pm$",
    "×": r"$\times$",
}

_DOCUMENT = r"""\documentclass[border=8pt,varwidth=\maxdimen]{standalone}
\usepackage[T1]{fontenc}
\usepackage{lmodern,textcomp,booktabs,multirow}
\begin{document}
\newsavebox{\results}
\sbox{\results}{%
%% ---- from here to the next line of dashes: needs booktabs and multirow
TABULAR%% ----
}%
\textbf{TITLE}\par\smallskip
\usebox{\results}\par\smallskip
\newlength{\textbelow}\setlength{\textbelow}{\wd\results}%
\ifdim\textbelow<14cm\setlength{\textbelow}{14cm}\fi
\begin{minipage}{\textbelow}\footnotesize\raggedright
NOTES
\end{minipage}
\end{document}
"""


def escape(text: str) -> str:
    """``text`` so that LaTeX sets it as it stands; characters beyond Latin-1, which fonts may lack, become ``?``."""
    plain = "".join(_ESCAPES.get(char, char if char.isprintable() and ord(char) < 256 else "?") for char in text)
    return re.sub("-(?=-)", "-{}", plain)  # two hyphens are not a dash


def render_latex(table: Table) -> str:
    """The document: title, tabular (booktabs, multirow), notes."""
    return document(table.title, tabular(_frame(table), table.headings), table.notes)


def document(title: str, tabular: str, notes: Iterable[str]) -> str:
    """A document of ``tabular`` (LaTeX) with a title above and notes below it (texts, which are escaped)."""
    parts = {
        "TABULAR": tabular,
        "TITLE": escape(title),
        "NOTES": "\\par\n".join(escape(note) for note in notes),
    }
    return re.sub("TABULAR|TITLE|NOTES", lambda found: parts[found[0]], _DOCUMENT.replace("%%", "%"))


def tabular(frame: pd.DataFrame, headings: Sequence[str]) -> str:
    """``frame``, whose labels and cells are LaTeX, as a booktabs tabular; ``headings`` (texts) name its index."""
    depth = frame.index.nlevels
    text: str = frame.style.to_latex(
        hrules=True,
        clines="skip-last;data" if depth > 1 else None,
        multirow_align="t",
        multicol_align="c",
        column_format="l" * depth + "c" * len(frame.columns),
    )
    # Styler leaves the cells above the index blank; they are the place for its names.
    lines = text.splitlines()
    last = lines.index(r"\midrule") - 1
    lines[last] = " & ".join([*map(escape, headings), *lines[last].split(" & ")[depth:]])
    body, end = lines[: lines.index(r"\bottomrule")], lines[lines.index(r"\bottomrule") :]
    while body[-1].startswith(r"\cline"):
        body.pop()
    return "\n".join([*body, *end]).replace(r"\cline", r"\cmidrule") + "\n"


def _frame(table: Table) -> pd.DataFrame:
    import pandas as pd

    def index(places: Iterable[tuple[str, ...]]) -> pd.Index[Any]:
        levels = list(zip(*(tuple(map(escape, place)) for place in places), strict=True))
        return pd.Index(levels[0]) if len(levels) == 1 else pd.MultiIndex.from_arrays(levels)

    lines = list(table.lines())
    cells = [[_cell(table.entry(row, col), table, part) for col in table.cols] for _, row, part in lines]
    return pd.DataFrame(cells, index=index(labels for labels, _, _ in lines), columns=index(table.col_labels))


def _cell(entry: Entry, table: Table, part: slice) -> str:
    if not entry.numbers:
        return {"failed": r"\emph{failed}", "missing": "--"}[entry.status]
    shown = []
    sign = r"$\pm$" if table.spread == "std" else ""
    for mean, spread, best in table.texts(entry, part):
        number = _minus(escape(mean))
        text = rf"\textbf{{{number}}}" if best else number
        shown.append(text + (rf"\,{{\scriptsize{sign}{_minus(escape(spread))}}}" if spread else ""))
    fewer = table.fewer(entry, part)
    return " / ".join(shown) + (f"$^{{n={fewer}}}$" if fewer else "")


def _minus(text: str) -> str:
    """``text`` with minus signs for hyphens."""
    return text.replace("-", "$-$")
