"""`prunable simulate`: the dynamics behind the theorems, as rates with intervals."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prunable.cli import simulate_federated

if TYPE_CHECKING:
    from prunable.experiments.simulate.dynamics_specs import Experiment

app = typer.Typer(
    no_args_is_help=True, help="Simulate the dynamics behind the theorems; fit their rates."
)
app.command("federated")(simulate_federated.federated)


class Noise(StrEnum):
    """Types of stable noise."""

    TYPE1 = "type1"
    TYPE2 = "type2"
    TYPE3 = "type3"


class Activation(StrEnum):
    """Activations."""

    TANH = "tanh"
    SIGMOID = "sigmoid"
    RELU = "relu"


class Loss(StrEnum):
    """Losses."""

    SQUARED = "squared"
    LOGISTIC = "logistic"
    CROSS_ENTROPY = "cross-entropy"


class Scale(StrEnum):
    """Sizes."""

    SMOKE = "smoke"
    LAPTOP = "laptop"


Out = Annotated[Path, typer.Option("--out", help="Folder of rows, summary and figure.")]
Alphas = Annotated[
    list[float] | None, typer.Option("--alpha", help="Tail index, above 1; repeat for several.")
]
Seeds = Annotated[int, typer.Option(help="Independent repetitions.")]
NoiseOption = Annotated[Noise, typer.Option(help="One scalar a particle; entries; isotropic.")]
ActivationOption = Annotated[Activation, typer.Option(help="Of the hidden units.")]
LossOption = Annotated[Loss, typer.Option(help="Half squared error, logistic, softmax.")]
ScaleOption = Annotated[Scale, typer.Option(help="Sizes: for results, or for a quick look.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result on stdout.")]


@app.command("chaos")
def chaos(
    out: Out,
    alpha: Alphas = None,
    seeds: Seeds = 10,
    noise: NoiseOption = Noise.TYPE3,
    activation: ActivationOption = Activation.TANH,
    loss: LossOption = Loss.SQUARED,
    scale: ScaleOption = Scale.LAPTOP,
    as_json: Json = False,
) -> None:
    """Measure how fast particles approach the limit, and columns independence (theorem 4.2).

    Example: prunable simulate chaos --out chaos --alpha 1.5 --alpha 1.9
    """
    _run("chaos", out, alpha, seeds, noise, activation, loss, scale, as_json=as_json)


@app.command("euler")
def euler(
    out: Out,
    alpha: Alphas = None,
    seeds: Seeds = 10,
    noise: NoiseOption = Noise.TYPE3,
    activation: ActivationOption = Activation.TANH,
    loss: LossOption = Loss.SQUARED,
    scale: ScaleOption = Scale.LAPTOP,
    as_json: Json = False,
) -> None:
    """Measure the error of finite steps against step and width (theorem 4.1).

    Example: prunable simulate euler --out euler --noise type2
    """
    _run("euler", out, alpha, seeds, noise, activation, loss, scale, as_json=as_json)


@app.command("moments")
def moments(
    out: Out,
    alpha: Alphas = None,
    seeds: Seeds = 10,
    noise: NoiseOption = Noise.TYPE3,
    activation: ActivationOption = Activation.TANH,
    loss: LossOption = Loss.SQUARED,
    scale: ScaleOption = Scale.LAPTOP,
    as_json: Json = False,
) -> None:
    """Measure how second moments and maxima grow (theorem 4.3, lemma B.1).

    Example: prunable simulate moments --out moments --alpha 1.75 --alpha 2
    """
    _run("moments", out, alpha, seeds, noise, activation, loss, scale, as_json=as_json)


@app.command("compression")
def compression(
    out: Out,
    alpha: Alphas = None,
    seeds: Seeds = 10,
    noise: NoiseOption = Noise.TYPE3,
    activation: ActivationOption = Activation.TANH,
    loss: LossOption = Loss.SQUARED,
    scale: ScaleOption = Scale.LAPTOP,
    as_json: Json = False,
) -> None:
    """Measure the error of pruning against size (theorem 3.1, compressibility laws).

    Example: prunable simulate compression --out compression --noise type1
    """
    _run("compression", out, alpha, seeds, noise, activation, loss, scale, as_json=as_json)


@app.command("sgd-tail")
def sgd_tail(out: Out, scale: ScaleOption = Scale.LAPTOP, as_json: Json = False) -> None:
    """Compare the exact tail index of SGD on a linear regression with simulation.

    Example: prunable simulate sgd-tail --out sgd-tail --json
    """
    _run(
        "sgd-tail",
        out,
        None,
        10,
        Noise.TYPE3,
        Activation.TANH,
        Loss.SQUARED,
        scale,
        as_json=as_json,
    )


def _run(
    experiment: Experiment,
    out: Path,
    alphas: list[float] | None,
    seeds: int,
    noise: Noise,
    activation: Activation,
    loss: Loss,
    scale: Scale,
    *,
    as_json: bool,
) -> None:
    from prunable.experiments.simulate.dynamics import ALPHAS, DynamicsSettings, run_experiment
    from prunable.report.simulate.dynamics_figures import render, save_panels

    talk = Console(stderr=True)
    settings = DynamicsSettings(
        tuple(alphas or ALPHAS),
        seeds,
        noise.value,
        activation.value,
        loss.value,
        "smoke" if scale == Scale.SMOKE else "laptop",
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=talk, transient=True) as progress:
        task = progress.add_task("simulating", total=None)
        document = run_experiment(
            experiment,
            settings,
            out,
            on_row=lambda done, total: progress.update(task, completed=done, total=total),
        )
    figure = out / f"{experiment}.svg"
    save_panels(document, figure)
    if as_json:
        typer.echo(json.dumps(document, allow_nan=False))
    else:
        render(document, Console())
    talk.print(f"rows, {experiment}.json and {experiment}.svg are in {out}", highlight=False)
