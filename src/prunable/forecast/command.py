"""`prunable forecast`, `advise` and `check`: pruned networks known before one is made."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from prunable.errors import InputError, require
from prunable.files import check_ending, check_places, write_text
from prunable.forecast.specs import Asked, Speed, TextAsked
from prunable.report import checks, terminal
from prunable.report.checks import Case
from prunable.report.options import Given, options_of
from prunable.report.terminal import AsJson, Device, Figure, Unpickle

Model = Annotated[Path, typer.Argument(help="Checkpoint, as `prunable prune` takes it.")]
INPUTS = "Inputs like those to come: .npz with x (and y where known), .npy, .pt, ..."
ACCURACY = "Known accuracy of the dense network, a share."
Page = Annotated[Path | None, typer.Option(help="Page to write, HTML.")]
SPEED = "Every copy on all inputs, or a few on a handful: coarser, at some 6 % of the price."
Kind = Literal["classification", "top5", "multilabel", "segmentation", "regression", "embedding"]


@options_of(TextAsked)
def forecast(
    given: Given,
    model: Model,
    inputs: Annotated[Path | None, typer.Option(help=INPUTS)] = None,
    accuracy: Annotated[float | None, typer.Option(help=ACCURACY)] = None,
    kind: Annotated[Kind, typer.Option(help="What the outputs are.")] = "classification",
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    speed: Annotated[Speed, typer.Option(help=SPEED)] = "exact",
    input_shape: Annotated[
        str | None, typer.Option(help="Of one input, as 3,32,32: ranks at --speed propagated.")
    ] = None,
    report: Page = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the accuracy of a network after pruning, from unlabelled inputs.

    The network and pruned copies of it run on the inputs; decisions that change are weighed by
    the network's own confidence. Without --accuracy only the share of decisions that stay is
    told. At --speed propagated a few copies see a few inputs, with wider intervals; without
    --inputs it ranks ways and layers by what they do to outputs. Of a language model (a folder of
    transformers or GGUF) with --text, its perplexity. Nothing is written but what is asked for,
    and the checkpoint stays as it is.

    Example: prunable forecast net.safetensors --net nets:build --inputs x.npz --accuracy .877
    """
    from prunable.forecast.document import forecast_tables, write_figure, write_page
    from prunable.forecast.forecasting import forecast as run
    from prunable.nets.networks.inputs import shape_of_text

    check_ending(report, "report", "forecast", ".html")
    check_ending(figure, "figure", "forecast", ".svg")
    asked = TextAsked.create(**given)
    read = {"the checkpoint": model, "the inputs": inputs, "the text": asked.text}
    read |= {"the calibration inputs": asked.calibrate}
    check_places("forecast", {"--report": report, "--figure": figure}, read)
    if accuracy is None and asked.accuracy_inputs is not None:
        raise InputError("`--accuracy-inputs` of `forecast` has no effect without --accuracy.")
    if asked.text is None:
        ranks = input_shape is not None and inputs is None
        wanted = "given, or --text, or --input-shape at --speed propagated"
        require(inputs is not None or ranks, "--inputs", "forecast", wanted, None)
        idle = asked.perplexity is not None
        require(not idle, "--perplexity", "forecast", "left out without --text", asked.perplexity)
        shape = None if input_shape is None else shape_of_text(input_shape, "forecast")
        options: dict[str, Any] = {"accuracy": accuracy, "kind": kind, "input_shape": shape}
        if inputs is None:
            what = _Read.of_shape(model, shape, asked)
        else:
            what = _Read.of("forecast", model, inputs, asked)
    else:
        _check_text(asked, inputs=inputs, accuracy=accuracy, input_shape=input_shape)
        what = _Read.of_text(model, asked.text, asked)
        nats = None if asked.perplexity is None else math.log(asked.perplexity)
        options = {"accuracy": nats, "kind": "language"}
    with terminal.progress("forecasting") as advance:
        found = run(
            what.network,
            what.inputs,
            level=level,
            speed=speed,
            on_point=advance,
            **options,
            **what.asked,
        )
    found = replace(found, model=str(model))
    document = found.to_dict()
    if asked.text is not None:
        document |= {"text": str(asked.text), "length": asked.length}
    if figure is not None:
        write_figure(document, figure)
    if report is not None:
        write_page(document, report, made_by=terminal.command_typed())

    def show(console: Console) -> None:
        for part in forecast_tables(document):
            part.print(console)

    terminal.emit(document, as_json, show)
    for what_is, path in (("report", report), ("figure", figure)):
        if path is not None:
            terminal.say(f"the {what_is} is {path}")


@options_of(Asked)
def advise(
    given: Given,
    model: Model,
    inputs: Annotated[Path, typer.Option(help=INPUTS)],
    accuracy: Annotated[float, typer.Option(help=ACCURACY)],
    at_most_loss: Annotated[float, typer.Option(help="Accuracy that may be lost, a share.")] = 0.01,
    confidence: Annotated[
        float, typer.Option(help="With which it is held, all networks looked at counted in.")
    ] = 0.9,
    target: Annotated[
        str | None, typer.Option(help="Share to stay under: macs=0.5 or parameters=0.5.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Plan to write if accepted; MODEL.plan.json here.")
    ] = None,
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
    from prunable.forecast.advising import advise as run
    from prunable.forecast.document import advice_lines, layers_table, write_page
    from prunable.nets.prune.plan_file import write_plan

    check_ending(report, "report", "advise", ".html")
    check_ending(junit, "junit", "advise", ".xml")
    check_ending(out, "out", "advise", ".json")
    place = out or Path(f"{model.stem}.plan.json")
    asked = Asked.create(**given)
    others = asked.calibrate
    read = {"the checkpoint": model, "the inputs": inputs, "the calibration inputs": others}
    check_places("advise", {"--out": place, "--report": report, "--junit": junit}, read)
    what = _Read.of("advise", model, inputs, asked)
    aim: dict[str, Any] = {"at_most_loss": at_most_loss, "confidence": confidence, "target": target}
    with terminal.progress("forecasting") as advance:
        found = run(
            what.network, what.inputs, accuracy=accuracy, on_point=advance, **aim, **what.asked
        )
    document = found.to_dict() | {"model": str(model), "plan": None, "command": None}
    document["forecast"]["model"] = str(model)
    if found.plan is not None:
        write_plan(place, found.plan)
        units = document["chosen"]["method"] == "unit"
        document |= {"plan": str(place), "command": what.command(model, asked.net, place, units)}
    if report is not None:
        layers = () if found.plan is None else (layers_table(document),)
        typed = terminal.command_typed()
        write_page(document["forecast"], report, advice=document, more=layers, made_by=typed)
    name = f"{model} loses at most {100 * at_most_loss:g} points"
    case = Case(name, f"{found.verdict} {model}: {found.said}", found.verdict != "ACCEPT")
    if junit is not None:
        write_text(junit, checks.junit("prunable advise", [case]))
    for line in checks.github("prunable advise", [case]) if github else ():
        typer.echo(line, err=True)

    def show(console: Console) -> None:
        if found.plan is not None:
            layers_table(document).print(console)
        for line in advice_lines(document):  # last, where one looks
            console.print(line, soft_wrap=True, markup=False)

    terminal.emit(document, as_json, show)
    if status := {"INFEASIBLE": 1, "UNSURE": 3}.get(found.verdict):
        raise typer.Exit(status)


def check(
    plan: Annotated[Path, typer.Argument(help="Plan of `prunable advise`.")],
    model: Model,
    inputs: Annotated[Path, typer.Option(help="Inputs with their classes: .npz with x and y.")],
    net: Annotated[
        str | None,
        typer.Option(help="Architecture, if the file does not say; MODULE:FUNCTION of your own."),
    ] = None,
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
    from prunable.report.prune.pruned import lost_line

    if model.suffix == ".json" != plan.suffix:
        raise InputError(
            f"`check` takes the plan first, then the checkpoint: prunable check {model} {plan}."
        )
    file = read_plan(plan)
    asked = Asked(net=net, device=device, unpickle=unpickle)
    given = _Read.of("check", model, inputs, asked)
    labels = given.asked["labels"]
    if labels is None:
        raise InputError(
            f"`inputs` of `check` must hold classes, y beside x; {inputs} holds none. Without them "
            "there is only the forecast."
        )
    found = outcome_of(given.network, file, given.inputs, labels, confidence=confidence)
    document = {"model": str(model), "plan": str(plan), **found.to_dict()}
    terminal.emit(document, as_json, lambda console: outcome_table(document).print(console))
    if found.lost:
        again = f"`prunable prune {model} --plan {plan}` with --retrain 5"
        terminal.say(lost_line(found.lost, [again], "a plan of `advise` for a smaller loss"))
    if status := {"FAILS": 1, "UNSURE": 3}.get(found.verdict):
        raise typer.Exit(status)


@dataclass(frozen=True, eq=False)
class _Read:
    """What the commands read: the network, inputs, and the options that `forecast` takes."""

    network: Any
    inputs: Any
    shape: tuple[int, ...] | None
    asked: dict[str, Any]
    unpickle: bool = False

    @classmethod
    def of(cls, where: str, model: Path, inputs: Path, asked: Asked) -> _Read:
        """Read the files; what is wrong with options is said before."""
        from prunable.forecast.files import in_batches, network_for, read_inputs
        from prunable.forecast.logits import AT_ONCE, CHUNK

        options = _options(asked, where)
        found = read_inputs(inputs, where, labels=asked.labels)
        if asked.calibrate is not None:
            others = read_inputs(asked.calibrate, where, labels=False)
            options["calibration"] = in_batches(others, CHUNK)
        network = network_for(
            model, asked.net, found, where, unpickle=asked.unpickle, device=asked.device
        )
        options |= {"labels": found.labels, "accuracy_inputs": asked.accuracy_inputs}
        return cls(network, in_batches(found, AT_ONCE), found.shape, options, asked.unpickle)

    @classmethod
    def of_shape(cls, model: Path, shape: tuple[int, ...] | None, asked: Asked) -> _Read:
        """Read a network whose inputs are known by their shape alone."""
        from prunable.forecast.files import network_of_shape

        options = _options(asked, "forecast")
        if asked.calibrate is not None:
            raise InputError("`--calibrate` of `forecast` has no effect without --inputs.")
        how: dict[str, Any] = {"unpickle": asked.unpickle, "device": asked.device}
        network = network_of_shape(model, asked.net, shape, "forecast", **how)
        return cls(network, None, shape, options)

    @classmethod
    def of_text(cls, model: Path, text: Path, asked: TextAsked) -> _Read:
        """Read a language model and windows of the text."""
        from prunable.forecast.texts import calls_for, first_windows, language_model, spread_windows

        options = _options(asked, "forecast", "language")
        windows = spread_windows(model, text, asked.length, asked.windows)
        others = None
        if asked.calibrate is not None:
            others = first_windows(model, asked.calibrate, asked.length, asked.calibrate_size)
        network = language_model(model, asked.device)
        if others is not None:
            options["calibration"] = calls_for(network, others)
        return cls(network, windows, None, options)

    def command(self, model: Path, net: str | None, plan: Path, units: bool) -> str:
        """The command that carries a plan out."""
        words = ["prunable", "prune", str(model)]
        words += [] if net is None else ["--net", net]
        if net is not None and self.shape is not None:
            words += ["--input-shape", ",".join(map(str, self.shape))]
        words += ["--plan", str(plan), "--out", f"{model.stem}-pruned.safetensors"]
        words += ["--unpickle"] if self.unpickle else []
        return shlex.join([*words, *(["--shrink"] if units else [])])


def _options(asked: Asked, where: str, kind: str = "") -> dict[str, Any]:
    """The ways, shares and settings that were asked for, tried."""
    from prunable.forecast.ways import checked_keeps, ways_named

    if asked.names is not None:
        ways_named(asked.names, where, kind)
    options: dict[str, Any] = {"strategies": asked.names, "seed": asked.seed, "store": asked.store}
    return options | ({"keeps": checked_keeps(asked.keep, where)} if asked.keep else {})


def _check_text(asked: TextAsked, **others: Any) -> None:
    """Refuse options that have no effect on a language model."""
    others |= {"net": asked.net, "accuracy_inputs": asked.accuracy_inputs}
    for name, value in others.items():
        if value is not None:
            instead = " Give --perplexity." if name == "accuracy" else " Leave it out."
            flag = name.replace("_", "-")
            raise InputError(f"`--{flag}` of `forecast` has no effect beside --text.{instead}")
