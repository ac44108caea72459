"""The command ``clipfed-bench``. Modules are imported without torch; commands import it when they compute."""

from __future__ import annotations

import inspect
import re
import sys
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from clipfed_bench.cli import bench, check, data, grid, paper, regress, report, server_data, table, teacher
from clipfed_bench.cli.list import app as list_app
from clipfed_bench.core.errors import UserError, shown
from clipfed_bench.core.notices import shown_by
from clipfed_bench.core.version import VERSION

app = typer.Typer(
    name="clipfed-bench",
    help="Benchmark backdoor attacks and defenses in federated learning on one shared simulator.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clipfed-bench {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _prose(text: str | None) -> str:
    """A docstring with each paragraph on one line, for the terminal to break."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text or ""))


_COMMANDS = (
    *(
        grid.grid,
        check.check,
        grid.run,
        table.table,
        table.compare,
        regress.regress,
        report.report,
        report.plot,
        bench.bench,
    ),
    paper.paper,
)
_GROUPS = {"list": list_app, "data": data.app, "teacher": teacher.app, "server-data": server_data.app}

for _command in _COMMANDS:
    app.command(help=_prose(_command.__doc__))(_command)
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line. A user's mistake, a path that does not work for one, is a message and exit status 2."""
    try:
        with shown_by(lambda text: typer.echo(f"warning: {text}", err=True)):
            _built()(prog_name="clipfed-bench")
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{shown(error.filename)}: {error.strerror or error}.")


@cache
def _built() -> Any:
    """All commands and their options, which typer else makes anew for each call: 60 ms of a test's 150."""
    return get_command(app)


def _fail(message: str) -> NoReturn:
    lines = message.splitlines() or [""]
    print("Error: " + "\n".join(shown(line, len(line)) for line in lines), file=sys.stderr)
    sys.exit(2)
