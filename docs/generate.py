"""Pages that are made from the code when the site is built: the command line, attacks, defenses and presets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from enum import EnumMeta
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import mkdocs_gen_files
import typer

from clipfed_bench.cli.main import app
from clipfed_bench.components import registry
from clipfed_bench.config.grid import load_preset, make_grid, preset_names
from clipfed_bench.core.values import show
from clipfed_bench.runs import columns


def write(page: str, lines: Iterable[str], mode: str = "w") -> None:
    """One generated page, or (``a``) what is added to a page."""
    with mkdocs_gen_files.open(page, mode) as file:
        file.write("\n".join(lines) + "\n")


def plain(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"([|\\*_<\[\]`])", r"\\\1", " ".join(text.split()))


def command_line() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Command line\n\nMade from the commands themselves; `clipfed-bench COMMAND --help` says the same.\n"
    yield from _command("clipfed-bench", typer.main.get_command(app), 2)


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} `{path}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        if row := _parameter(parameter):
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(row)
    for panel, rows in panels.items():
        yield f"**{plain(panel)}**\n" if panel else ""
        yield "| option | value | |\n|---|---|---|"
        yield from rows
        yield ""
    for name, child in getattr(command, "commands", {}).items():
        yield from _command(f"{path} {name}", child, min(level + 1, 4))


def _parameter(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if "--help" in names or "--install-completion" in names or "--show-completion" in names:
        return ""
    option = names[0].startswith("-")
    shown = ", ".join(f"`{name}`" for name in names) if option else f"`{(parameter.metavar or names[0]).upper()}`"
    kind = "" if getattr(parameter, "is_flag", False) else str(parameter.metavar or _value(parameter))
    return f"| {shown} | {plain(kind)} | {plain(unmarked(getattr(parameter, 'help', None) or ''))} |"


def _value(parameter: Any) -> str:
    """What an option takes, ``TEXT`` or the words to choose from, and what it takes if it is not given."""
    kind = parameter.type_descriptor.annotation
    choices = [str(choice.value) for choice in kind] if isinstance(kind, EnumMeta) else list(map(str, get_args(kind)))
    shown = " | ".join(choices) or {str: "TEXT", int: "N", float: "X", Path: "PATH"}.get(kind, "")
    default = getattr(parameter.default, "value", parameter.default)
    return shown if default is None or callable(default) else f"{shown} ({default})"


def unmarked(text: str) -> str:
    """A help text without the backslashes that keep brackets from being markup in a terminal."""
    return text.replace("\\[", "[")


def escaped(line: str) -> str:
    """A line of prose of which no sign is markup, but in code, where none would be."""
    return re.sub(r"(``.*?``)|([*_<\[\]])", lambda found: found[1] or f"\\{found[2]}", line)


def components(kind: str, all_of_them: dict[str, registry.Component]) -> Iterator[str]:
    """What each attack or defense does, in the words of its module, and its options."""
    yield f"| {kind} | |\n|---|---|"
    label = {name: f"{name}:NAME" if component.family else name for name, component in all_of_them.items()}
    yield from (f"| [`{label[name]}`](#{name}) | {plain(c.summary)} |" for name, c in all_of_them.items())
    for name, component in all_of_them.items():
        yield f"\n## {name}\n"
        text = inspect.getdoc(import_module(component.module)) or ""
        # Indented lines are formulas, which Markdown shows as they are.
        yield re.sub(r"^(?!    ).+", lambda line: escaped(line[0]), text, flags=re.M)
        if component.options:
            yield "\n| option | default | |\n|---|---|---|"
            yield from (f"| `{o.name}` | `{show(o.default)}` | {plain(o.doc)} |" for o in component.options)


def presets() -> Iterator[str]:
    """Every preset with its description, size and text."""
    yield "# Presets\n\n`clipfed-bench grid --preset NAME [--scale SCALE]`; any setting can be given on top.\n"
    for name in preset_names():
        axes = load_preset(name)
        sizes = [f"{len(make_grid(axes).cells)} cells"]
        sizes += [f"{len(make_grid(axes.at(scale)).cells)} cells at scale `{scale}`" for scale in axes.scales]
        yield f"## {name}\n\n{axes.description} ({', '.join(sizes)})\n"
        text = (files("clipfed_bench") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
        yield f"```toml\n{text.strip()}\n```\n"


def results_format() -> Iterator[str]:
    """The columns of the parquet files, below what is written by hand."""
    for title, found in (
        ("results.parquet: what the cell is", columns.of_cells()),
        ("results.parquet: what it came to", columns.of_figures()),
        ("results.parquet: with what", columns.of_provenance()),
        ("history.parquet", columns.of_history()),
    ):
        yield f"\n## {title}\n\n| column | | |\n|---|---|---|"
        yield from (f"| `{column.name}` | {column.kind} | {plain(column.meaning)} |" for column in found)


write("cli.md", command_line())
write("results-format.md", results_format(), "a")
write("attacks.md", components("attack", dict(registry.attacks())), "a")
write("defenses.md", components("defense", registry.defenses() | registry.families("defense")), "a")
write("presets.md", presets())
