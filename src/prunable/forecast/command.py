"""`prunable forecast`: the accuracy of pruned networks before one is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from prunable.errors import InputError
from prunable.report import terminal
from prunable.report.terminal import AsJson, Device, Figure, Seed, Unpickle

Model = Annotated[Path, typer.Argument(help="Checkpoint, as `prunable prune` takes it.")]
Net = Annotated[
    str | None,
    typer.Option(help="Architecture, if the file does not say; MODULE:FUNCTION of your own."),
]
InputsFile = Annotated[
    Path,
    typer.Option(help="Inputs like those to come: .npz with x (and y where known), .npy, .pt, ..."),
]
Accuracy = Annotated[
    float | None, typer.Option(help="Known accuracy of the dense network, a share.")
]
AccuracyInputs = Annotated[
    int | None, typer.Option(min=1, help="Examples that accuracy was measured on.")
]
Methods = Annotated[
    list[str] | None,
    typer.Option(help="Ways to prune: magnitude/lamp, calibrated, 2:4, unit, ...; the usual ones."),
]
Keep = Annotated[list[float] | None, typer.Option(help="Shares to keep; ten from .8 to .05.")]
Calibrate = Annotated[
    Path | None, typer.Option(help="Other inputs, for ways that go by what flows into layers.")
]
Labels = Annotated[
    bool, typer.Option("--labels/--no-labels", help="Use classes y of the inputs where there.")
]
Folder = Annotated[
    Path | None, typer.Option(help="Folder to keep what was run; an interrupted one goes on.")
]
Page = Annotated[Path | None, typer.Option(help="Page to write, HTML.")]
Kind = Literal["classification", "top5", "multilabel", "segmentation", "regression", "embedding"]


def forecast(
    model: Model,
    inputs: InputsFile,
    net: Net = None,
    accuracy: Accuracy = None,
    accuracy_inputs: AccuracyInputs = None,
    methods: Methods = None,
    keep: Keep = None,
    labels: Labels = True,
    calibrate: Calibrate = None,
    kind: Annotated[Kind, typer.Option(help="What the outputs are.")] = "classification",
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    store: Folder = None,
    device: Device = "auto",
    seed: Seed = 0,
    unpickle: Unpickle = False,
    report: Page = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the accuracy of a network after pruning, from unlabelled inputs.

    The network and pruned copies of it run on the inputs; decisions that change are weighed by
    the network's own confidence. Without --accuracy only the share of decisions that stay is
    told. Nothing is written but what is asked for, and the checkpoint stays as it is.

    Example: prunable forecast net.safetensors --net nets:build --inputs x.npz --accuracy .877
    """
    from prunable.forecast.document import checks_table, forecast_table, write_figure, write_page

    terminal.check_ending(report, "report", "forecast", ".html")
    terminal.check_ending(figure, "figure", "forecast", ".svg")
    found, _, _ = forecast_of(
        "forecast",
        model,
        net,
        inputs,
        accuracy,
        accuracy_inputs,
        methods,
        keep,
        labels,
        calibrate,
        kind,
        level,
        store,
        device,
        seed,
        unpickle,
    )
    document = found.to_dict()
    if figure is not None:
        write_figure(document, figure)
    if report is not None:
        write_page(document, report)

    def show(console: Console) -> None:
        forecast_table(document).print(console)
        checks_table(document).print(console)
        for path in (report, figure):
            if path is not None:
                console.print(str(path), soft_wrap=True, markup=False)

    terminal.emit(document, as_json, show)


def forecast_of(
    where: str,
    model: Path,
    net: str | None,
    inputs: Path,
    accuracy: float | None,
    accuracy_inputs: int | None,
    methods: list[str] | None,
    keep: list[float] | None,
    labels: bool,
    calibrate: Path | None,
    kind: Kind,
    level: float,
    store: Path | None,
    device: str,
    seed: int,
    unpickle: bool,
) -> tuple[Any, Any, Any]:
    """The forecast of a checkpoint, its network and its inputs in batches."""
    from prunable.forecast.files import in_batches, network_for, read_inputs
    from prunable.forecast.forecasting import forecast as run
    from prunable.forecast.logits import AT_ONCE
    from prunable.forecast.ways import KEEPS, checked_keeps, ways_named

    if accuracy is None and accuracy_inputs is not None:
        raise InputError(f"`--accuracy-inputs` of `{where}` has no effect without --accuracy.")
    names = None if not methods else [x for text in methods for x in text.split(",") if x]
    if names is not None:
        ways_named(names, where)
    asked = checked_keeps(keep or KEEPS, where)
    given = read_inputs(inputs, where, labels=labels)
    others = None if calibrate is None else in_batches(read_inputs(calibrate, where), 32)
    network = network_for(model, net, given, where, unpickle=unpickle, device=device)
    batches = in_batches(given, AT_ONCE)
    with terminal.progress(f"{where}ing" if where == "forecast" else where) as advance:
        found = run(
            network,
            batches,
            accuracy=accuracy,
            strategies=names,
            keeps=asked,
            labels=given.labels,
            kind=kind,
            level=level,
            accuracy_inputs=accuracy_inputs,
            calibration=others,
            store=store,
            seed=seed,
            on_point=advance,
        )
    return replace(found, model=str(model)), network, batches
