"""The command ``clipfed-bench``. Modules are imported without torch; commands import it when they compute."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Annotated, NoReturn

import typer

from clipfed_bench.cli import bench, compare, data, grid, paper, plot, regress, report, run, server_data, table, teacher
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


app.command("grid", help=_prose(grid.grid.__doc__))(grid.grid)
app.command("run", help=_prose(run.run.__doc__))(run.run)
app.add_typer(list_app, name="list")
app.command("table", help=_prose(table.table.__doc__))(table.table)
app.command("compare", help=_prose(compare.compare.__doc__))(compare.compare)
app.command("regress", help=_prose(regress.regress.__doc__))(regress.regress)
app.command("report", help=_prose(report.report.__doc__))(report.report)
app.command("plot", help=_prose(plot.plot.__doc__))(plot.plot)
app.command("bench", help=_prose(bench.bench.__doc__))(bench.bench)
app.command("paper", help=_prose(paper.paper.__doc__))(paper.paper)
app.add_typer(data.app, name="data")
app.add_typer(teacher.app, name="teacher")
app.add_typer(server_data.app, name="server-data")


def main() -> None:
    """Run the command line. A user's mistake, a path that does not work for one, is a message and exit status 2."""
    try:
        with shown_by(lambda text: typer.echo(f"warning: {text}", err=True)):
            app(prog_name="clipfed-bench")
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{shown(error.filename)}: {error.strerror or error}.")


def _fail(message: str) -> NoReturn:
    lines = message.splitlines() or [""]
    print("Error: " + "\n".join(shown(line, len(line)) for line in lines), file=sys.stderr)
    sys.exit(2)
