"""A sheet as a LaTeX document that compiles as it is; its tabular needs booktabs and multirow where it is copied to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from clipfed_bench.report.formats.sheet import Cell, Entry, Number, Sheet

_ESCAPES = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after a row's end a bare [ would begin an option
    "]": "{]}",
    "–": r"\textendash{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "≤": r"$\leq$",
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


def latex(sheet: Sheet) -> str:
    """The document: title, tabular (booktabs), notes."""
    parts = {
        "TABULAR": "\n".join(_tabular(sheet)) + "\n",
        "TITLE": escape(sheet.title),
        "NOTES": "\\par\n".join(escape(note) for note in sheet.notes),
    }
    return re.sub("TABULAR|TITLE|NOTES", lambda found: parts[found[0]], _DOCUMENT.replace("%%", "%"))


def _tabular(sheet: Sheet) -> Iterator[str]:
    depth, merged = len(sheet.corner), sheet.look != "list"  # a label that holds for several rows spans them
    align = "c" if merged else "r"
    yield rf"\begin{{tabular}}{{{'l' * depth + align * len(sheet.heads)}}}"
    yield r"\toprule"
    *upper, last = sheet.head_lines()
    for line in upper:
        yield _line([*[""] * depth, *(_spanning("multicolumn", span, "c", escape(text)) for text, span in line)])
    yield _line([*map(_entry, sheet.corner), *(_entry(text) for text, _ in last)])
    yield r"\midrule"
    for i, (row, same, opens) in enumerate(sheet.steps()):
        if opens and merged:
            yield " ".join(rf"\cmidrule{{{k + 1}-{depth + len(sheet.heads)}}}" for k in range(same, depth - 1))
        elif opens:
            yield r"\addlinespace"
        labels = [_entry(text) for text in row[same:depth]]
        if merged:
            labels = [_spanning("multirow[t]", _reach(sheet, i, same + k), "*", text) for k, text in enumerate(labels)]
        yield _line([*[""] * same, *labels, *map(_entry, row[depth:])])
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _line(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"


def _spanning(command: str, count: int, align: str, text: str) -> str:
    return rf"\{command}{{{count}}}{{{align}}}{{{text}}}" if count > 1 else text


def _reach(sheet: Sheet, first: int, level: int) -> int:
    """Rows from the ``first`` that its label at ``level`` holds for; the innermost label is of one row."""
    if level == len(sheet.corner) - 1:
        return 1
    label = sheet.rows[first][: level + 1]
    return next((i for i, row in enumerate(sheet.rows[first:]) if row[: level + 1] != label), len(sheet.rows) - first)


def _entry(entry: Entry) -> str:
    if isinstance(entry, str):
        return _minus(escape(entry))
    if entry.kind in ("failed", "missing"):
        return {"failed": r"\emph{failed}", "missing": "--"}[entry.kind]
    text = " / ".join(_number(number, entry) for number in entry.numbers)
    text = rf"{{\footnotesize {text}}}" if entry.kind == "aside" else text
    return text + (f"$^{{n={entry.fewer}}}$" if entry.fewer else "")


def _number(number: Number, cell: Cell) -> str:
    if not number.known:
        return "--"
    text = _minus(escape(number.text))
    if cell.kind == "aside" and number.text[0] in "+−":
        text = f"${number.text.replace('−', '-')}$"
    text = (rf"\textbf{{{text}}}" if number.best else text) + escape(number.mark)
    spread = escape(number.sign) + _minus(escape(number.spread))
    return text + (rf"\,{{\scriptsize{spread}}}" if spread else "")


def _minus(text: str) -> str:
    """``text`` with minus signs for hyphens before numbers."""
    return re.sub(r"(?<![^\s}])-(?=\d)", "$-$", text)
