"""`prunable train`: one network, with or without injected heavy-tailed noise."""

from pathlib import Path
from typing import Annotated

import typer

from prunable.errors import UnsupportedModelError
from prunable.experiments.train.specs import TrainSpec
from prunable.nets.catalogue import NETS
from prunable.report import terminal
from prunable.report.options import Given, options_of
from prunable.report.tables import table
from prunable.report.terminal import AsJson

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
    from prunable import front

    if given["net"] not in NETS:
        raise UnsupportedModelError(
            f"`net` of `train` must be one of {', '.join(NETS)}; got {given['net']}."
        )
    with terminal.progress("training") as advance:
        found = front.train(
            out,
            epochs=epochs,
            device=device,
            on_spec=lambda spec: terminal.announce(spec.estimated_seconds(), "the training"),
            on_step=lambda done, total: advance(done, total, ""),
            **given,
        )
    rows = [(name, f"{value:.4f}") for name, value in found.metrics.items()]
    title = f"{found.status}: {found.reason}"
    terminal.emit(found.to_dict(), as_json, table(("metric", "value"), rows, title=title).print)
