"""`prunable train`: one network, with or without injected heavy-tailed noise."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from prunable.errors import SpecError, UnsupportedModelError


class Noise(StrEnum):
    """Types of injected noise."""

    NONE = "none"
    TYPE1 = "type1"
    TYPE2 = "type2"
    TYPE3 = "type3"


class Split(StrEnum):
    """How a data set is divided."""

    SHUFFLED = "shuffled"
    OFFICIAL = "official"


UNLIMITED = 1_000_000


def train(
    out: Annotated[Path, typer.Option(help="Folder of this run.")],
    data: Annotated[str, typer.Option(help="Data set; see `prunable data list`.")],
    net: Annotated[
        str,
        typer.Option(
            help="Architecture: mean-field, two-layer, lenet-300-100, mlp5, fcn4, "
            "fcn6, vgg, resnet20."
        ),
    ] = "mean-field",
    width: Annotated[
        int | None, typer.Option(help="Hidden units, channels; default: the architecture's own.")
    ] = None,
    lr: Annotated[
        float,
        typer.Option(
            "--lr", "--eta", help="Step size; the learning rate of mean-field is lr * width."
        ),
    ] = 3e-4,
    batch: Annotated[int, typer.Option(help="Examples a step.")] = 500,
    optimizer: Annotated[Literal["sgd", "adam"], typer.Option(help="Rule of the steps.")] = "sgd",
    momentum: Annotated[float, typer.Option(help="Of sgd.")] = 0.0,
    weight_decay: Annotated[float, typer.Option(help="Shrinkage of weights.")] = 0.0,
    schedule: Annotated[
        Literal["constant", "cosine"], typer.Option(help="Of the learning rate, over all steps.")
    ] = "constant",
    noise: Annotated[Noise, typer.Option(help="Type of the injected noise.")] = Noise.NONE,
    alpha: Annotated[float | None, typer.Option(help="Tail index, in (0, 2].")] = None,
    sigma: Annotated[float, typer.Option(help="Level of the noise.")] = 0.0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    until_accuracy: Annotated[
        float | None, typer.Option(help="Stop at this training accuracy.")
    ] = None,
    average: Annotated[int, typer.Option(help="Last iterates to average.")] = 0,
    split: Annotated[Split | None, typer.Option(help="Default: the data set's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print result.json on stdout.")] = False,
) -> None:
    """Train a network; interrupt it at will, the same command goes on where it stopped.

    Writes model.safetensors, metrics.parquet and result.json.

    Example: prunable train --data ecg5000 --noise type1 --alpha 1.8 --sigma 0.15
    --epochs 600 --out run
    """
    from prunable.data.loaders import load
    from prunable.experiments.train.specs import TrainSpec
    from prunable.experiments.train.stages import train_into
    from prunable.nets.models import NETS
    from prunable.runs.store import Store

    if net not in NETS:
        raise UnsupportedModelError(
            f"`net` of `train` must be one of {', '.join(NETS)}; got {net}."
        )
    if (epochs is None) == (until_accuracy is None):
        raise SpecError("give either --epochs or --until-accuracy.")
    n_train = len(load(data, split=split.value if split else None).x_train)
    steps = UNLIMITED if epochs is None else epochs * -(-n_train // batch)
    spec = TrainSpec.create(
        dataset={"name": data, "split": split.value if split else None},
        net=net,
        width=NETS[net].width if width is None else width,
        lr=lr,
        batch_size=batch,
        steps=steps,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
        noise=noise.value,
        alpha=alpha,
        sigma=sigma,
        seed=seed,
        average_last=average,
        until_accuracy=until_accuracy,
    )
    with Store(out).locked(), Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=steps if epochs else None)
        result = train_into(out, spec, lambda step: progress.update(task, completed=step))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        table = Table("metric", "value", title=f"{result['status']}: {result['reason']}")
        for name, value in result["metrics"].items():
            table.add_row(name, f"{value:.4f}")
        Console().print(table)
