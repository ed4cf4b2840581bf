"""The `prunable` command."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from prunable.cli import data, demo, train
from prunable.errors import PrunableError

INTERRUPTED = 130


class _Guarded(TyperGroup):
    """Shows the package's own errors as one message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PrunableError as error:
            Console(stderr=True).print("[bold red]error:[/]", end=" ")
            typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted; the same command goes on where it stopped.", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="prunable",
    cls=_Guarded,
    help="Know before you prune: how compressible is a network, and why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="demo")(demo.demo)
app.command(name="train")(train.train)
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the `prunable` script."""
    app()
