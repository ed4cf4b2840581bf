"""`prunable train`: one network, with or without injected heavy-tailed noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunable.errors import SpecError, UnsupportedModelError
from prunable.experiments.train.specs import TrainSpec
from prunable.nets.catalogue import NETS
from prunable.report import terminal
from prunable.report.options import Given, options_of
from prunable.report.tables import table
from prunable.report.terminal import AsJson
from prunable.runs.store import Store

UNLIMITED = 1_000_000
FLAGS = {"dataset.name": "--data", "batch_size": "--batch", "average_last": "--average"}


@options_of(
    TrainSpec,
    flags=FLAGS,
    optional={"width": "Default: the architecture's own."},
    without=["steps"],
    old={"lr": "--eta"},
)
def train(
    given: Given,
    out: Annotated[Path, typer.Option(help="Folder of this run.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    device: terminal.Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a network; interrupt it at will, the same command goes on where it stopped.

    Writes model.safetensors, metrics.parquet, execution.json and result.json.

    Example: prunable train --data ecg5000 --noise type1 --alpha 1.8 --sigma 0.15
    --epochs 600 --out run
    """
    from prunable.experiments.train.stages import train_into

    net = given["net"]
    if net not in NETS:
        raise UnsupportedModelError(
            f"`net` of `train` must be one of {', '.join(NETS)}; got {net}."
        )
    if (epochs is None) == (given.keys().isdisjoint({"until_accuracy", "until_loss"})):
        raise SpecError("give either --epochs or --until-accuracy (or --until-loss).")
    given.setdefault("width", NETS[net].width)
    spec = TrainSpec.create(steps=UNLIMITED, **given)
    if epochs is not None:
        per_epoch = -(-spec.dataset.n_train // spec.batch_size)
        spec = TrainSpec.create(steps=epochs * per_epoch, **given)
    with Store(out).locked(), terminal.progress("training") as advance:
        total = spec.steps if epochs else None
        result = train_into(out, spec, lambda step: advance(step, total, ""), device=device)
    rows = [(name, f"{value:.4f}") for name, value in result["metrics"].items()]
    title = f"{result['status']}: {result['reason']}"
    terminal.emit(result, as_json, table(("metric", "value"), rows, title=title).print)
