"""The `prunable` command."""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import cleandoc
from traceback import clear_frames
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

import prunable
from prunable.cli.mistakes import in_words_of_options, shortage_message, usage_message
from prunable.errors import DataIntegrityError, InputError, PrunableError, shortage
from prunable.report import terminal
from prunable.report.tables import printable

LONE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
LONG = 20  # characters of a type, from which on its choices may stand in several lines
LIST_OF = re.compile(r"<list\[(.*)\]>", re.IGNORECASE)


def readable(command: Any) -> Any:
    """The command, its help in whole paragraphs; options that may be repeated say so.

    Everything below a group likewise, if it is there already. Standard output is for results.
    """
    if command.help:
        command.help = LONE_BREAK.sub(" ", cleandoc(command.help))
    for option in command.params:
        text = getattr(option, "help", None)
        if text and getattr(option, "multiple", False) and not re.search("repeat|several", text):
            option.help = f"{text.rstrip('.')}; repeat for several."
    for inside in getattr(command, "commands", {}).values():
        readable(inside)
    if command.callback is not None:
        command.callback = terminal.results_apart()(command.callback)
    return command


def prepare_pages() -> None:
    """Let names of options wrap rather than be cut, flags have no type, and lists that of an entry.

    What draws pages is imported by this, so that commands do not wait for it.
    """
    from typer import rich_utils

    drawing: Any = rich_utils
    for name in ("highlighter", "negative_highlighter"):
        setattr(drawing, name, _Whole(getattr(drawing, name)))
    if types := getattr(drawing, "types_highlighter", None):
        drawing.types_highlighter = _Types(types)


class _Whole:
    """A highlighter whose texts go on in the next line where they do not fit."""

    def __init__(self, inner: Any) -> None:
        self.inner = getattr(inner, "inner", inner)

    def __call__(self, text: Any) -> Any:
        shown = self.inner(text)
        shown.overflow = "fold"
        return shown


class _Types(_Whole):
    """The same for types: nothing for a flag, which takes none."""

    def __call__(self, text: Any) -> Any:
        plain = "" if text.plain == "<bool>" else LIST_OF.sub(r"<\1>", text.plain)
        text.plain = plain.replace("|", " | ") if len(plain) > LONG else plain
        return super().__call__(text)


INTERRUPTED = 130
UsageError: Any = typer.BadParameter.__mro__[1]
# Of every command: where it lives, and its summary. It is imported when it is asked for: a help
# page and a command need not wait for the others.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "advise": (
        "prunable.forecast.command:advise",
        "Advise the smallest pruned network that loses at most so much, from unlabelled inputs.",
    ),
    "check": (
        "prunable.forecast.command:check",
        "Compare what was forecast of a plan with what it comes to on inputs with their classes.",
    ),
    "certify": (
        "prunable.certify.command:certify",
        "Bound the true error of a network: three statements in words, and every bound itemised.",
    ),
    "data": ("prunable.cli.data:app", "Data sets: list them, fetch one, say where it lies."),
    "demo": (
        "prunable.cli.demo:demo",
        "Train with and without heavy-tailed noise, measure, prune and compare.",
    ),
    "evaluate": (
        "prunable.cli.evaluate:evaluate",
        "Measure the perplexity of a language model on a text.",
    ),
    "forecast": (
        "prunable.forecast.command:forecast",
        "Forecast the accuracy of a network after pruning, from unlabelled inputs.",
    ),
    "iterate": (
        "prunable.cli.iterate:iterate",
        "Find a ticket: train, prune and rewind in rounds; interrupt it at will.",
    ),
    "measure": (
        "prunable.cli.measure:measure",
        "Measure how prunable a trained network is, layer by layer; needs no data.",
    ),
    "predict": ("prunable.predict.command:app", "Predict the risk after pruning from formulas."),
    "prune": ("prunable.cli.prune:prune", "Prune a network and show what is left, layer by layer."),
    "reproduce": (
        "prunable.cli.reproduce:reproduce",
        "Reproduce tables and figures of the papers, beside the papers' numbers.",
    ),
    "simulate": (
        "prunable.cli.simulate:app",
        "Simulate the dynamics behind the theorems; fit their rates.",
    ),
    "sketch": (
        "prunable.sketch.command:app",
        "Sparse matrix sketches: encode a pruned checkpoint, decode it bit for bit.",
    ),
    "train": (
        "prunable.cli.train:train",
        "Train a network; interrupt it at will, the same command goes on where it stopped.",
    ),
    "verify": (
        "prunable.certify.command:verify",
        "Compute certificates anew from their code files and the data, in an isolated process.",
    ),
}


class _Commands(dict[str, Any]):
    """Commands by name, each imported when it is looked at."""

    def __getitem__(self, name: str) -> Any:
        if not super().__contains__(name) and name in COMMANDS:
            self[name] = _imported(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*super().__iter__(), *COMMANDS}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def keys(self) -> Any:
        return list(self)

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in list(self) else default


def _imported(name: str) -> Any:
    module, _, inside = COMMANDS[name][0].partition(":")
    found = getattr(import_module(module), inside)
    if isinstance(found, typer.Typer):
        return readable(typer.main.get_group(found))
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command(name=name)(found)
    return readable(typer.main.get_command(alone))


class _Guarded(TyperGroup):
    """Shows mistakes as one message, without a traceback, and looks at few commands."""

    _listing = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self._listing and cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])
        return super().get_command(ctx, cmd_name)

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **given: Any
    ) -> Any:
        kept = terminal.take_loudness(args)
        if len(kept) < 2 or {"-h", "--help"} & {*kept}:  # alone, a group shows its page
            prepare_pages()
        try:
            context = super().make_context(info_name, list(kept), parent, **given)
        except UsageError as error:
            raise _refused(error) from error
        context.meta[__name__] = kept
        return context

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise _refused(error) from error
        except Exception as error:
            path, command = self._asked(ctx)
            # what reads a file names it, and says so itself
            said = isinstance(error, DataIntegrityError) and "memory" in str(error)
            if not said and (cause := shortage(error)):
                for one in (error, cause):  # what their frames hold, to have room for words
                    clear_frames(one.__traceback__)
                text, code = shortage_message(cause, command, path), InputError.exit_code
            elif isinstance(error, PrunableError):
                text = in_words_of_options(str(error), command, path, ctx.meta[__name__])
                code = error.exit_code
            else:
                raise
            _say(text)
            if terminal.is_verbose():
                raise
            raise typer.Exit(code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted; the same command goes on where it stopped.", err=True)
            raise typer.Exit(INTERRUPTED) from error

    def _asked(self, ctx: Any) -> tuple[list[str], Any]:
        """The words that name the command that runs, and it."""
        path: list[str] = []
        command: Any = self
        for word in ctx.meta[__name__]:
            inside = getattr(command, "commands", {}).get(word)
            if inside is None:
                break
            path.append(word)
            command = inside
        return path, command


def _refused(error: Any) -> Any:
    """What ends the command after a usage error was said."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return error
    _say(usage_message(error))
    return typer.Exit(error.exit_code)


def _say(text: str) -> None:
    # their table takes memory, of which there may be none
    Console(stderr=True, emoji=False).print("[bold red]error:[/]", end=" ")
    typer.echo(printable(text, keep="\n"), err=True)


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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show where in the code an error arose.")
    ] = False,
) -> None:
    """Know before you prune: how compressible is a network, and why."""
    del version, quiet, verbose  # of all commands, and taken before they are parsed


def main() -> None:
    """Entry point of the `prunable` script."""
    for stream in (sys.stdout, sys.stderr):  # letters that they do not know are spelled out
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="prunable", args=sys.argv[1:])
