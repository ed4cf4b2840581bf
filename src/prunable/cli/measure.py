"""`prunable measure`: how prunable is this network, and in which layer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prunable.errors import InputError

if TYPE_CHECKING:
    from prunable.numerics.measure.network import Measurement


def measure(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Checkpoint: safetensors, torch, ONNX, or a folder with one; several are "
            "followed as a training run.",
        ),
    ],
    eps: Annotated[
        list[float], typer.Option(help="Relative error; may be given several times.")
    ] = [0.05, 0.1, 0.2],  # noqa: B006 - typer reads it, nobody changes it
    p: Annotated[float, typer.Option("--p", help="Order of the norm of the error.")] = 2.0,
    against: Annotated[
        Path | None, typer.Option(help="Another checkpoint to compare with.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    spectrum: Annotated[
        Literal["auto", "exact", "none"],
        typer.Option(help="Singular values; auto estimates those of very large matrices."),
    ] = "auto",
    authors: Annotated[
        bool, typer.Option("--authors", help="Add the 2021 paper's own tail index.")
    ] = False,
    unpickle: Annotated[
        bool,
        typer.Option("--unpickle", help="Let a pickled model run its code; only if you trust it."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of subsamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout.")] = False,
) -> None:
    """Measure how prunable a trained network is, layer by layer; needs no data.

    Tail index by every estimator with its standard error and a verdict, fitted laws, and the
    share of weights, nodes and singular values to keep at a relative error.

    Example: prunable measure model.safetensors --eps 0.1 --report model.html
    """
    from prunable.numerics.measure.network import compare, trajectory

    if against is not None and len(models) > 1:
        raise InputError("`--against` of `measure` compares one model with another; give one.")
    talk = Console(stderr=True)
    options = {
        "eps": tuple(eps),
        "p": p,
        "seed": seed,
        "spectrum": spectrum,
        "authors": authors,
        "unpickle": unpickle,
    }
    measured = [_measure(path, options, talk) for path in models]
    if len(measured) > 1:
        document = trajectory(measured, _steps(models))
        shown = document
    else:
        document, shown = (measured[0].to_dict(curves=c) for c in (True, False))
        if against is not None:
            difference = compare(measured[0], _measure(against, options, talk))
            document["comparison"] = shown["comparison"] = difference
    _render(document, report)
    if as_json:
        typer.echo(json.dumps(shown))
    else:
        _print(document)
    if report:
        talk.print(f"the report is {report}")


def _measure(path: Path, options: dict[str, Any], talk: Console) -> Measurement:
    from prunable.nets.measure.measuring import measure as measure_network

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=talk, transient=True) as progress:
        task = progress.add_task(path.name, total=None)

        def advance(done: int, total: int, name: str) -> None:
            del name
            progress.update(task, completed=done, total=total)

        return measure_network(path, on_layer=advance, **options)


def _steps(models: list[Path]) -> list[float]:
    """The last number in each name if all have one and they differ, else the order."""
    numbers = [re.findall(r"\d+", path.stem) for path in models]
    steps = [float(found[-1]) if found else float("nan") for found in numbers]
    return (
        steps
        if len(set(steps)) == len(models) and all(numbers)
        else list(map(float, range(len(models))))
    )


def _render(document: dict[str, Any], report: Path | None) -> None:
    if report is None:
        return
    from prunable.report.measure.measure_html import write_measurement
    from prunable.report.measure.measurement import MeasurementDocument, TrajectoryDocument

    kind = TrajectoryDocument if "trajectory" in document else MeasurementDocument
    write_measurement(kind.model_validate(document), report)


def _print(document: dict[str, Any]) -> None:
    from prunable.report.measure.measure_tables import render_console, render_trajectory_console
    from prunable.report.measure.measurement import MeasurementDocument, TrajectoryDocument

    if "trajectory" in document:
        render_trajectory_console(TrajectoryDocument.model_validate(document), Console())
    else:
        render_console(MeasurementDocument.model_validate(document), Console())
