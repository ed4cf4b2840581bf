"""`prunable iterate`: train and prune in rounds, rewinding between them."""

from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prunable.experiments.prune.specs import IterateSpec
from prunable.nets.catalogue import known_net
from prunable.report import terminal
from prunable.report.options import Given, options_of
from prunable.runs.data import DataSpec

SET_HERE = ["steps", "last_steps", "controls", "average_last", "evaluate_every"]
PANELS = {
    "Rounds": (
        "keep",
        "rounds",
        "method",
        "allocation",
        "rewind",
        "rewind_step",
        "only",
        "exclude",
        "force",
    )
}


@options_of(
    IterateSpec,
    flags={"dataset.name": "--data", "batch_size": "--batch"},
    optional={"width": "Default: the architecture's own."},
    without=SET_HERE,
    panels=PANELS,
)
def iterate(
    given: Given,
    out: Annotated[Path, typer.Option(help="Folder of this run.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data a round.")] = 5,
    last_epochs: Annotated[
        int, typer.Option(min=0, help="Of the ticket in the end, masks held.")
    ] = 0,
    control: Annotated[
        list[str] | None,
        typer.Option(
            help="Trained beside the ticket in the end: dense, re-initialised, shuffled or "
            "random; repeat for several."
        ),
    ] = None,
    device: terminal.Device = "auto",
    as_json: terminal.AsJson = False,
) -> None:
    """Find a ticket: train, prune and rewind in rounds; interrupt it at will.

    Writes ticket.safetensors (a bit a weight), model.safetensors (the trained ticket) and
    result.json. The same command goes on after the last whole round.

    Example: prunable iterate --data digits --keep 0.1 --rounds 5 --epochs 10 --lr 0.1
    --last-epochs 10 --control random --out ticket
    """
    from prunable.experiments.train.stages import train_into
    from prunable.report.prune.pruned import lost_line, rounds_table
    from prunable.runs.store import Store

    per_epoch = -(-DataSpec.create(**given["dataset"]).n_train // given["batch_size"])
    given.setdefault("width", known_net(given["net"], "iterate").width)
    if given["optimizer"] != "sgd":
        given["momentum"] = 0.0
    spec = IterateSpec.create(
        steps=epochs * per_epoch,
        evaluate_every=epochs * per_epoch,
        last_steps=last_epochs * per_epoch,
        controls=tuple(dict.fromkeys(control or ())),
        **given,
    )
    with Store(out).locked(), terminal.progress("training") as advance:
        begin = cache(partial(terminal.announce, spec.estimated_seconds(), "the iteration"))

        def told(step: int) -> None:
            begin()  # once, when nothing is refused any more
            advance(step, spec.total_steps, "")

        result = train_into(out, spec, told, device=device)

    def show(console: Console) -> None:
        rounds_table(result).print(console)
        console.print(f"{out}: ticket.safetensors, model.safetensors", soft_wrap=True)

    terminal.emit(result, as_json, show)
    if lost := result.get("lost"):
        terminal.say(lost_line(lost, ["more --epochs or --rounds"], "a larger --keep"))
