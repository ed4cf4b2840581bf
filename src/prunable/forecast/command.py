"""`prunable forecast`, `advise` and `check`: pruned networks known before one is made."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from prunable.errors import InputError
from prunable.files import check_ending, check_places, write_text
from prunable.report import checks, terminal
from prunable.report.checks import Case
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
    from prunable.forecast.forecasting import forecast as run
    from prunable.forecast.ways import KEEPS

    check_ending(report, "report", "forecast", ".html")
    check_ending(figure, "figure", "forecast", ".svg")
    read = {"the checkpoint": model, "the inputs": inputs, "the calibration inputs": calibrate}
    check_places("forecast", {"--report": report, "--figure": figure}, read)
    if accuracy is None and accuracy_inputs is not None:
        raise InputError("`--accuracy-inputs` of `forecast` has no effect without --accuracy.")
    given = _Given.of(
        "forecast",
        model,
        net,
        inputs,
        methods,
        keep or list(KEEPS),
        labels,
        calibrate,
        unpickle,
        device,
    )
    with terminal.progress("forecasting") as advance:
        found = run(
            given.network,
            given.batches,
            accuracy=accuracy,
            strategies=given.methods,
            keeps=given.keeps,
            labels=given.labels,
            kind=kind,
            level=level,
            accuracy_inputs=accuracy_inputs,
            calibration=given.calibration,
            store=store,
            seed=seed,
            on_point=advance,
        )
    found = replace(found, model=str(model))
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


def advise(
    model: Model,
    inputs: InputsFile,
    accuracy: Annotated[float, typer.Option(help="Known accuracy of the dense network, a share.")],
    at_most_loss: Annotated[float, typer.Option(help="Accuracy that may be lost, a share.")] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="With which it is held, all networks looked at counted in.")
    ] = 0.9,
    target: Annotated[
        str | None, typer.Option(help="Share to stay under: macs=0.5 or parameters=0.5.")
    ] = None,
    net: Net = None,
    accuracy_inputs: AccuracyInputs = None,
    methods: Methods = None,
    keep: Keep = None,
    labels: Labels = True,
    calibrate: Calibrate = None,
    out: Annotated[
        Path | None, typer.Option(help="Plan to write if accepted; MODEL.plan.json here.")
    ] = None,
    store: Folder = None,
    device: Device = "auto",
    seed: Seed = 0,
    unpickle: Unpickle = False,
    report: Page = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit file to write, XML.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Say the verdict as GitHub's workflows read it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Advise the smallest pruned network that loses at most so much, from unlabelled inputs.

    Writes its plan, which `prunable prune --plan` carries out. Exit status 0 if one is accepted,
    1 if none is feasible, 3 if more inputs are needed.

    Example: prunable advise net.safetensors --net nets:build --inputs x.npz --accuracy .877
    """
    from prunable.forecast.advising import KEEPS
    from prunable.forecast.advising import advise as run
    from prunable.forecast.document import advice_lines, layers_table, write_page
    from prunable.nets.prune.plan_file import write_plan

    check_ending(report, "report", "advise", ".html")
    check_ending(junit, "junit", "advise", ".xml")
    check_ending(out, "out", "advise", ".json")
    place = out or Path(f"{model.stem}.plan.json")
    read = {"the checkpoint": model, "the inputs": inputs, "the calibration inputs": calibrate}
    check_places("advise", {"--out": place, "--report": report, "--junit": junit}, read)
    given = _Given.of(
        "advise",
        model,
        net,
        inputs,
        methods,
        keep or list(KEEPS),
        labels,
        calibrate,
        unpickle,
        device,
    )
    with terminal.progress("forecasting") as advance:
        found = run(
            given.network,
            given.batches,
            accuracy=accuracy,
            at_most_loss=at_most_loss,
            confidence=confidence,
            target=target,
            strategies=given.methods,
            keeps=given.keeps,
            labels=given.labels,
            accuracy_inputs=accuracy_inputs,
            calibration=given.calibration,
            store=store,
            seed=seed,
            on_point=advance,
        )
    document = found.to_dict() | {"model": str(model), "plan": None, "command": None}
    document["forecast"]["model"] = str(model)
    if found.plan is not None:
        write_plan(place, found.plan)
        units = document["chosen"]["method"] == "unit"
        document |= {"plan": str(place), "command": given.command(model, net, place, units)}
    if report is not None:
        layers = () if found.plan is None else (layers_table(document),)
        write_page(document["forecast"], report, advice=document, more=layers)
    name = f"{model} loses at most {at_most_loss:g}"
    case = Case(name, f"{found.verdict} {model}: {found.said}", found.verdict != "ACCEPT")
    if junit is not None:
        write_text(junit, checks.junit("prunable advise", [case]))
    for line in checks.github("prunable advise", [case]) if github else ():
        typer.echo(line, err=True)

    def show(console: Console) -> None:
        for line in advice_lines(document):
            console.print(line, soft_wrap=True, markup=False)
        if found.plan is not None:
            layers_table(document).print(console)

    terminal.emit(document, as_json, show)
    if status := {"INFEASIBLE": 1, "UNSURE": 3}.get(found.verdict):
        raise typer.Exit(status)


def check(
    plan: Annotated[Path, typer.Argument(help="Plan of `prunable advise`.")],
    model: Model,
    inputs: Annotated[Path, typer.Option(help="Inputs with their classes: .npz with x and y.")],
    net: Net = None,
    confidence: Annotated[float, typer.Option(help="Of the verdict.")] = 0.9,
    device: Device = "auto",
    unpickle: Unpickle = False,
    as_json: AsJson = False,
) -> None:
    """Compare what was forecast of a plan with what it comes to on inputs with their classes.

    The plan is carried out on a copy; nothing is written. Exit status 0 if the loss holds, 1 if
    it is larger than advised at, 3 if these inputs do not tell.

    Example: prunable check net.plan.json net.safetensors --net nets:build --inputs test.npz
    """
    from prunable.forecast.advising import outcome_of
    from prunable.forecast.document import outcome_table
    from prunable.nets.prune.plan_file import read_plan

    file = read_plan(plan)
    given = _Given.of("check", model, net, inputs, None, [1.0], True, None, unpickle, device)
    if given.labels is None:
        raise InputError(
            f"`inputs` of `check` must hold classes, y beside x; {inputs} holds none. Without them "
            "there is only the forecast."
        )
    found = outcome_of(given.network, file, given.batches, given.labels, confidence=confidence)
    document = {"model": str(model), "plan": str(plan), **found.to_dict()}
    terminal.emit(document, as_json, lambda console: outcome_table(document).print(console))
    if status := {"FAILS": 1, "UNSURE": 3}.get(found.verdict):
        raise typer.Exit(status)


@dataclass(frozen=True, eq=False)
class _Given:
    """What the commands read: the network, inputs in batches, and what is asked."""

    network: Any
    batches: Any
    shape: tuple[int, ...] | None
    labels: Any
    calibration: Any
    methods: list[str] | None
    keeps: tuple[float, ...]

    @classmethod
    def of(
        cls,
        where: str,
        model: Path,
        net: str | None,
        inputs: Path,
        methods: list[str] | None,
        keep: list[float],
        labels: bool,
        calibrate: Path | None,
        unpickle: bool,
        device: str,
    ) -> _Given:
        """Read the files; what is wrong with options is said before."""
        from prunable.forecast.files import in_batches, network_for, read_inputs
        from prunable.forecast.logits import AT_ONCE, CHUNK
        from prunable.forecast.ways import checked_keeps, ways_named

        names = None if not methods else [x for text in methods for x in text.split(",") if x]
        if names is not None:
            ways_named(names, where)
        keeps = checked_keeps(keep, where)
        found = read_inputs(inputs, where, labels=labels)
        others = None
        if calibrate is not None:
            others = in_batches(read_inputs(calibrate, where, labels=False), CHUNK)
        network = network_for(model, net, found, where, unpickle=unpickle, device=device)
        batches = in_batches(found, AT_ONCE)
        return cls(network, batches, found.shape, found.labels, others, names, keeps)

    def command(self, model: Path, net: str | None, plan: Path, units: bool) -> str:
        """The command that carries a plan out."""
        words = ["prunable", "prune", str(model)]
        words += [] if net is None else ["--net", net]
        if net is not None and self.shape is not None:
            words += ["--input-shape", ",".join(map(str, self.shape))]
        words += ["--plan", str(plan), "--out", f"{model.stem}-pruned.safetensors"]
        return shlex.join([*words, *(["--shrink"] if units else [])])
