"""What every command shares: its options, its progress, and how a result leaves it."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal, Protocol, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from prunable.errors import InputError
from prunable.report.tables import printable

AsJson = Annotated[bool, typer.Option("--json", help="Print the result on stdout.")]
Unpickle = Annotated[
    bool, typer.Option("--unpickle", help="Let a pickled model run its code; only if you trust it.")
]
Seed = Annotated[int, typer.Option(help="Of everything random.", min=0)]
Device = Annotated[
    str, typer.Option(help="Where to compute: auto, cpu, cuda, or one of several, as cuda:1.")
]
Where = Annotated[
    Literal["local", "ray"],
    typer.Option("--backend", help="This machine, or a Ray cluster, whose nodes see the files."),
]
Address = Annotated[
    str | None, typer.Option(help="Of a Ray cluster; a local one is started without.")
]
Figure = Annotated[Path | None, typer.Option(help="Draw it here, as SVG.")]

SCHEMA_VERSION = 1  # of documents that have no version of their own
LONG = 30.0  # seconds from which on a command says beforehand how long it takes
FIRST_LOOK = 2.0  # seconds after which the rest is judged by what is done
FEW = 16  # steps, up to which the first tells how long all will take
ENOUGH = 0.1  # share of unlike steps, by their expected costs, that judges the rest
EVERY = 10.0  # seconds between lines of progress in a file or a pipe


class Advance(Protocol):
    """Takes done, total, what is at hand, and of unlike steps the share of costs that is done."""

    def __call__(
        self, done: int, total: int | None, name: str = "", share: float | None = None, /
    ) -> None: ...


class Plain(Console):
    """A console that spells out control characters, whoever chose the names that it prints."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn what is printed, with its markup, into text."""
        return super().render_str(printable(text, keep="\n\t"), **options)


_LOUDNESS: ContextVar[str] = ContextVar("loudness", default="")
_RESULTS: ContextVar[TextIO | None] = ContextVar("results", default=None)
_TYPED: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())
LOUDNESS = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}


def take_loudness(arguments: Sequence[str]) -> list[str]:
    """Note how much this command is to say, and give the other arguments back."""
    asked = [LOUDNESS[word] for word in arguments if word in LOUDNESS]
    _LOUDNESS.set(asked[-1] if asked else "")
    _TYPED.set(tuple(arguments))
    return [word for word in arguments if word not in LOUDNESS]


def typed() -> tuple[str, ...]:
    """The words after `prunable` of the command that runs, without those for its loudness."""
    return _TYPED.get()


def command_typed() -> str:
    """The command that runs, as a shell takes it."""
    return shlex.join(("prunable", *_TYPED.get()))


def is_verbose() -> bool:
    """Whether errors are to be shown with where they arose."""
    return _LOUDNESS.get() == "verbose"


def talk() -> Console:
    """The console of everything that is not the result: standard error, silent with --quiet."""
    return Plain(stderr=True, highlight=False, quiet=_LOUDNESS.get() == "quiet")


@contextmanager
def results_apart() -> Iterator[None]:
    """Keep standard output for results: what networks, plugins and libraries print is talk."""
    token = _RESULTS.set(results())  # which a command within another has already
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _RESULTS.reset(token)


def results() -> TextIO:
    """Where the results of the command go."""
    return _RESULTS.get() or sys.stdout


def say(line: str) -> None:
    """A line beside the result, on standard error, as it is."""
    talk().print(line, soft_wrap=True, markup=False)


def announce(seconds: float, what: str = "this", where: str = "on one core") -> None:
    """Say before anything over half a minute how long it will take, roughly; not with --json."""
    if seconds > LONG and "--json" not in _TYPED.get():
        about = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
        if seconds >= 2 * 3600:
            about = f"{seconds / 3600:.1f} hours"
        last = what.split()[-1]
        verb = "take" if last.isalpha() and last.endswith("s") and last != "this" else "takes"
        talk().print(f"{what} {verb} roughly {about} {where}")


def emit(
    document: Mapping[str, Any] | Sequence[Any],
    as_json: bool,
    show: Callable[[Console], None] | None = None,
) -> None:
    """Print a result on standard output: as JSON, or as `show` prints it.

    The JSON says its schema's version; that of a list says it in each entry.
    """
    if as_json:
        version = {"schema_version": SCHEMA_VERSION}
        if isinstance(document, Mapping):
            typer.echo(json.dumps({**version, **document}), results())
        else:
            typer.echo(json.dumps([{**version, **entry} for entry in document]), results())
    elif show is not None:
        show(Plain(highlight=False, file=results()))


def refuse_idle(context: typer.Context, needs: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse options of a running command that were given and have no effect.

    `needs` says, for each parameter, whether it has one, and what it needs in words that
    complete "has no effect without ...".

    Raises InputError for the first such option.
    """
    for name, (effective, what) in needs.items():
        source = context.get_parameter_source(name)
        if effective or source is None or source.name != "COMMANDLINE":
            continue
        option = next(found for found in context.command.params if found.name == name)
        raise InputError(
            f"`{option.opts[0]}` of `{context.command_path.partition(' ')[2]}` has no effect "
            f"without {what}. Give that, or leave it out."
        )


def refuse_both(context: typer.Context, renamed: Mapping[str, str]) -> None:
    """Refuse an option together with its former name: one of them would not be obeyed.

    `renamed` has the parameters of former names, None unless given, and the ones of today.

    Raises InputError for the first pair of which both were given.
    """
    flags = {found.name: found.opts[0] for found in context.command.params}
    for former, name in renamed.items():
        source = context.get_parameter_source(name)
        if context.params[former] is not None and source and source.name == "COMMANDLINE":
            raise InputError(
                f"`{flags[former]}` of `{context.command_path.partition(' ')[2]}` is the former "
                f"name of {flags[name]}, and both are given. Give {flags[name]} alone."
            )


@contextmanager
def progress(what: str, console: Console | None = None) -> Iterator[Advance]:
    """A bar on standard error; the function given takes done, total and what is at hand.

    Where standard error is no terminal a line says now and then how far it is. What will take
    more than half a minute, by its first seconds, is announced once.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console or talk(),
        transient=True,
        disable=not sys.stderr.isatty() or _LOUDNESS.get() == "quiet",
    ) as shown:
        task = shown.add_task(what, total=None)
        started = said = monotonic()
        judged, first = False, (0.0, started)

        def advance(
            done: int, total: int | None, name: str = "", share: float | None = None, /
        ) -> None:
            nonlocal said, judged, first
            now, label = monotonic(), printable(f"{what} {name}".rstrip())
            least = 0.0 if share is None else ENOUGH
            share = (done / total if total else 0.0) if share is None else share
            if done and not first[0] and (total or 0) > FEW * done:
                first = (share, now)  # of many steps the first prepares the others: it tells little
            elif not judged and share > first[0] + least and now - first[1] >= FIRST_LOOK:
                judged = True
                rest = (now - first[1]) * (1 - first[0]) / (share - first[0])
                announce(first[1] - started + rest, what, "here")
            quiet = _LOUDNESS.get() == "quiet"
            if shown.disable and now - said >= EVERY and not quiet:
                said = now
                of = "" if total is None else f" of {total:,}"
                typer.echo(f"{label}: {done:,}{of}, {now - started:.0f} s", err=True)
            shown.update(task, completed=done, total=total, description=label)

        yield advance


@contextmanager
def counted(
    what: str, total: int, costs: Mapping[str, float] | None = None
) -> Iterator[Callable[..., None]]:
    """A bar that moves by one whenever the function given is called, with anything.

    `costs` are those of unlike steps by the `run_id` of what it is called with; others cost none.
    """
    with progress(what) as advance:
        done, spent, all_costs = 0, 0.0, sum((costs or {}).values())

        def one_more(step: object = None, *_: object) -> None:
            nonlocal done, spent
            done += 1
            spent += (costs or {}).get(getattr(step, "run_id", ""), 0.0)
            advance(done, total, "", spent / all_costs if all_costs else None)

        advance(0, total, "")
        yield one_more
