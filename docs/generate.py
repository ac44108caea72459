"""Pages that are made from the code when the site is built: the command line, attacks, defenses and presets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib import import_module
from importlib.resources import files
from typing import Any

import mkdocs_gen_files
import typer

from clipfed_bench import registry
from clipfed_bench.cli.main import app
from clipfed_bench.grid import load_preset, make_grid, preset_names
from clipfed_bench.report.metrics import METRICS
from clipfed_bench.spec import CellSpec
from clipfed_bench.values import show


def write(page: str, lines: Iterable[str]) -> None:
    """One generated page."""
    with mkdocs_gen_files.open(page, "w") as file:
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
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    if rows:
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
    kind = "" if getattr(parameter, "is_flag", False) else str(parameter.metavar or "")
    return f"| {shown} | {plain(kind)} | {plain(unmarked(getattr(parameter, 'help', None) or ''))} |"


def unmarked(text: str) -> str:
    """A help text without the backslashes that keep brackets from being markup in a terminal."""
    return text.replace("\\[", "[")


def components(kind: str, title: str, all_of_them: dict[str, registry.Component]) -> Iterator[str]:
    """What each attack or defense does, in the words of its module, and its options."""
    yield f"# {title}\n\nMade from the modules themselves: what they say of their source and their deviations.\n"
    yield f"| {kind} | |\n|---|---|"
    yield from (f"| [`{name}`](#{name}) | {plain(c.summary)} |" for name, c in all_of_them.items())
    for name, component in all_of_them.items():
        yield f"\n## {name}\n"
        text = inspect.getdoc(import_module(component.module)) or ""
        # Indented lines are formulas, which Markdown shows as they are.
        yield re.sub(r"^(?!    ).+", lambda line: re.sub(r"([*_<\[\]])", r"\\\1", line[0]), text, flags=re.M)
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
    """The columns of the parquet files."""
    yield "# Results format\n"
    yield "`results.parquet` has a row for each cell, `history.parquet` one for each evaluation, round 0 being the one"
    yield "before the first round. Shares are fractions, times are seconds. A failed cell is a row without numbers.\n"
    yield "## results.parquet: what the cell is\n\n| column | default | origin | |\n|---|---|---|---|"
    yield "| `key` | | | first 16 hexadecimal digits of the sha256 of the settings below |"
    yield "| `status` | | | `done` or `failed` |"
    for f in fields(CellSpec):
        yield f"| `{f.name}` | `{show(f.default)}` | {f.metadata['origin']} | {plain(f.metadata['help'])} |"
    yield "| `attack_name`, `defense_name` | | | without options |"
    yield "\n## results.parquet: what it came to\n\n| column | |\n|---|---|"
    yield from (f"| `{m.name}` | {plain(m.meaning)} |" for m in METRICS.values())
    yield "| `error` | of a failed cell, in one line; the traceback is in its json file |"
    yield "| `created` | when it was stored, UTC |"
    yield "\n## results.parquet: with what\n\n| column | |\n|---|---|"
    yield from (f"| `{name}` | {text} |" for name, text in _PROVENANCE.items())
    yield "\n## history.parquet\n\n| column | |\n|---|---|"
    yield "| `key`, `dataset` … `seed` | the cell |\n| `round` | rounds done |"
    yield "| `mta`, `asr` | of this evaluation |"
    yield "| `tpr`, `fpr`, `dropped` | means, and for `dropped` the sum, over the rounds since the last evaluation |"
    yield "| `info_*` | what the defense says of itself, means over those rounds |"
    yield "| `seconds_*` | since the last evaluation |"


_PROVENANCE = {
    "version_*": "of the packages that can change a number",
    "platform, cpu, device, device_name": "the machine",
    "precision, steps": "of training: float32 or bfloat16; eager, or graph (captured CUDA graphs)",
    "git_sha": "of the source, with `-dirty` where it was changed",
    "data_source": "where the data set was read from, and how",
    "defaults": "JSON: setting or option left at its default, and the kind of that default (paper, lineage, ours)",
    "warmup_key": "names the checkpoint of the clean warm-up",
    "teacher_*": "name, prompts, identity, and of a local teacher its held-out accuracy",
    "server_label, server_hash": "the server data, and a hash of their content",
}

write("cli.md", command_line())
write("results-format.md", results_format())
write("attacks.md", components("attack", "Attacks", dict(registry.attacks())))
write("defenses.md", components("defense", "Defenses", dict(registry.defenses())))
write("presets.md", presets())
