"""The `prunable` command."""

from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import prunable
from prunable.certify import command as certify
from prunable.cli import data, demo, evaluate, iterate, measure, prune, reproduce, simulate, train
from prunable.errors import PrunableError
from prunable.forecast import command as forecast
from prunable.predict import command as predict
from prunable.report.tables import printable
from prunable.sketch import command as sketch

INTERRUPTED = 130


class _Guarded(TyperGroup):
    """Shows the package's own errors as one message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PrunableError as error:
            Console(stderr=True).print("[bold red]error:[/]", end=" ")
            typer.echo(printable(str(error), keep="\n"), err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted; the same command goes on where it stopped.", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="prunable",
    cls=_Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prunable {prunable.__version__}")
        raise typer.Exit


@app.callback()
def prunable_(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Know before you prune: how compressible is a network, and why."""
    del version


app.command(name="certify")(certify.certify)
app.command(name="demo")(demo.demo)
app.command(name="evaluate")(evaluate.evaluate)
app.command(name="forecast")(forecast.forecast)
app.command(name="iterate")(iterate.iterate)
app.command(name="measure")(measure.measure)
app.command(name="prune")(prune.prune)
app.command(name="reproduce")(reproduce.reproduce)
app.command(name="train")(train.train)
app.command(name="verify")(certify.verify)
app.add_typer(data.app, name="data")
app.add_typer(predict.app, name="predict")
app.add_typer(simulate.app, name="simulate")
app.add_typer(sketch.app, name="sketch")


def main() -> None:
    """Entry point of the `prunable` script."""
    app()
