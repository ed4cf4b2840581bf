"""`prunable measure`: how prunable is this network, and in which layer."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunable.errors import InputError
from prunable.files import check_ending, check_places, write_text
from prunable.numerics.measure.options import SpectrumMode
from prunable.report import terminal
from prunable.report.checks import Condition, github, junit
from prunable.report.options import bytes_of
from prunable.report.shaping import AsCsv, AsMarkdown, Shape, Sort, Top

if TYPE_CHECKING:
    from prunable.numerics.measure.network import Measurement, Trajectory


BYTES_A_SECOND = 1.5e7  # of checkpoints in float32, on one core
CONDITION_HOLDS = 1  # exit status


def measure(
    context: typer.Context,
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
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write an HTML page: FILE.html holds all it needs; in FOLDER pages share one "
            "plotly.min.js, and are named after the checkpoint."
        ),
    ] = None,
    spectrum: Annotated[
        SpectrumMode,
        typer.Option(help="Singular values; auto estimates those of very large matrices."),
    ] = "auto",
    authors: Annotated[
        bool, typer.Option("--authors", help="Add the 2021 paper's own tail index.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="What layers measured side by side may take, as 512MiB or 2GiB.")
    ] = "1GiB",
    backend: terminal.Where = "local",
    address: terminal.Address = None,
    unpickle: terminal.Unpickle = False,
    seed: terminal.Seed = 0,
    top: Top = None,
    sort: Sort = None,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with status 1 if this holds, such as 'kept>0.8', 'best@0.05>0.9' or "
            "'layer.alpha<1.5'; repeat for several."
        ),
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write what --fail-if found here, as JUnit XML.")
    ] = None,
    as_github: Annotated[
        bool, typer.Option("--github", help="Say what --fail-if found as GitHub annotations.")
    ] = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Measure how prunable a trained network is, layer by layer; needs no data.

    Tail index by every estimator with its standard error and a verdict, fitted laws, and the
    share of weights, nodes and singular values to keep at a relative error.

    Example: prunable measure model.safetensors --eps 0.1 --report model.html
    """
    from prunable.numerics.measure.network import Measurement, compare, trajectory
    from prunable.report.measure.advice import check_conditions, failures
    from prunable.report.measure.html import page_in, write_measurement
    from prunable.report.measure.tables import print_result
    from prunable.runs.backends import spreading

    shared = report is not None and (report.is_dir() or not report.suffix)
    if report is not None and shared:
        report = page_in(report, models)
    check_ending(report, "--report", "measure", ".html", ".htm")
    check_ending(junit_file, "--junit", "measure", ".xml")
    read = {f"the checkpoint {model}": model for model in models} | {"compared with": against}
    check_places("measure", {"--report": report, "--junit": junit_file}, read)
    gate = (bool(fail_if), "--fail-if")
    cluster = (backend == "ray", "--backend ray")
    terminal.refuse_idle(context, {"junit_file": gate, "as_github": gate, "address": cluster})
    conditions = [Condition.of(text, "measure") for text in fail_if or ()]
    check_conditions(conditions, eps)
    shape = Shape("measure", top, sort, as_csv, as_markdown, as_json)
    shape.check_printed(models)
    if conditions and len(models) > 1:
        raise InputError("`--fail-if` of `measure` judges one model; give one.")
    if against is not None and len(models) > 1:
        raise InputError("`--against` of `measure` compares one model with another; give one.")
    options = {
        "eps": tuple(eps),
        "p": p,
        "seed": seed,
        "spectrum": spectrum,
        "authors": authors,
        "memory": bytes_of(memory, "memory", "measure"),
        "unpickle": unpickle,
    }
    with spreading(backend, address) as spread:
        options["spread"] = spread
        measured = [_measure(path, options) for path in models]
        result: Measurement | Trajectory = (
            measured[0] if len(models) == 1 else trajectory(measured, _steps(models))
        )
        if against is not None:
            other = compare(measured[0], _measure(against, options))
            result = replace(measured[0], comparison=other)
    if report is not None:
        write_measurement(result, report, made_by=terminal.command_typed(), shared=shared)
    document = result.to_dict(curves=False) if isinstance(result, Measurement) else result.to_dict()
    cases = failures(result, conditions) if isinstance(result, Measurement) else []
    terminal.emit(document, as_json, partial(print_result, result, shape=shape))
    if report is not None:
        terminal.say(f"the report is {report}")
    if junit_file is not None:
        write_text(junit_file, junit(f"prunable measure {models[0]}", cases))
        terminal.say(f"the JUnit file is {junit_file}")
    for line in github(str(models[0]), cases) if as_github else ():
        typer.echo(line, err=True)
    for case in cases:
        terminal.talk().print(f"{'FAILED' if case.failed else 'passed'} {case.name}: {case.said}")
    if any(case.failed for case in cases):
        raise typer.Exit(CONDITION_HOLDS)


def _measure(path: Path, options: dict[str, Any]) -> Measurement:
    from prunable.nets.measure.measuring import measure as measure_network

    if path.is_file():
        terminal.announce(path.stat().st_size / BYTES_A_SECOND, path.name)
    with terminal.progress(path.name) as advance:
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
