"""`prunable measure`: how prunable is this network, and in which layer."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunable.errors import InputError
from prunable.numerics.measure.options import SpectrumMode
from prunable.report.terminal import AsJson, Seed, Unpickle, check_ending, emit, progress, talk

if TYPE_CHECKING:
    from prunable.numerics.measure.network import Measurement, Trajectory


def measure(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Checkpoint: safetensors, torch, ONNX, GGUF, or a folder with one; several are "
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
        SpectrumMode,
        typer.Option(help="Singular values; auto estimates those of very large matrices."),
    ] = "auto",
    authors: Annotated[
        bool, typer.Option("--authors", help="Add the 2021 paper's own tail index.")
    ] = False,
    unpickle: Unpickle = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how prunable a trained network is, layer by layer; needs no data.

    Tail index by every estimator with its standard error and a verdict, fitted laws, and the
    share of weights, nodes and singular values to keep at a relative error.

    Example: prunable measure model.safetensors --eps 0.1 --report model.html
    """
    from prunable.numerics.measure.network import Measurement, compare, trajectory
    from prunable.report.measure.html import write_measurement
    from prunable.report.measure.tables import print_result

    check_ending(report, "--report", "measure", ".html", ".htm")
    if against is not None and len(models) > 1:
        raise InputError("`--against` of `measure` compares one model with another; give one.")
    options = {
        "eps": tuple(eps),
        "p": p,
        "seed": seed,
        "spectrum": spectrum,
        "authors": authors,
        "unpickle": unpickle,
    }
    measured = [_measure(path, options) for path in models]
    result: Measurement | Trajectory = (
        measured[0] if len(models) == 1 else trajectory(measured, _steps(models))
    )
    if against is not None:
        result = replace(measured[0], comparison=compare(measured[0], _measure(against, options)))
    if report is not None:
        write_measurement(result, report)
    document = result.to_dict(curves=False) if isinstance(result, Measurement) else result.to_dict()
    emit(document, as_json, partial(print_result, result))
    if report is not None:
        talk().print(f"the report is {report}")


def _measure(path: Path, options: dict[str, Any]) -> Measurement:
    from prunable.nets.measure.measuring import measure as measure_network

    with progress(path.name) as advance:
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
