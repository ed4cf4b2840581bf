"""`prunable prune`: prune a checkpoint, and shrink, retrain and measure the network it holds."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prunable.errors import InputError
from prunable.experiments.prune.specs import PruningJob, Retraining
from prunable.nets.prune.choices import methods
from prunable.report import terminal
from prunable.report.options import Given, options_of
from prunable.report.shaping import AsCsv, AsMarkdown, Shape, Sort, Top
from prunable.runs.backends import RayBackend, backend_of

AGAIN = [f"retraining.{name}" for name in Retraining.model_fields]
PANELS = {
    "What to prune": (
        "method",
        "n_m",
        "keep",
        "plan",
        "target",
        "eps",
        "energy",
        "scope",
        "aggregate",
        "round_to",
        "allocation",
        "slope",
        "calibrate",
        "calibrate_size",
        "calibrate_length",
        "in_order",
        "stream",
        "refit",
        "towards",
        "bias_correction",
        "center",
        "only",
        "exclude",
        "seed",
        "force",
    ),
    "The network": ("net", "input_shape", "example", "data", "shrink", "recalibrate", "batch_size"),
    "Retraining": AGAIN,
}


@options_of(
    PruningJob,
    flags={"retraining.epochs": "--retrain"},
    without=["checkpoint"],
    old={"retraining.lr": "--eta"},
    panels=PANELS,
    choices={"method": methods()},
)
def prune(
    given: Given,
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...",
            help="Checkpoint: safetensors, torch, GGUF or a folder; several with --compare.",
        ),
    ],
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Prune by every strategy at six shares; accuracy against kappa."
        ),
    ] = False,
    backend: terminal.Where = "local",
    address: terminal.Address = None,
    top: Top = None,
    sort: Sort = None,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Prune a network and show what is left, layer by layer.

    Files are written whole or not at all; the checkpoint stays as it is. Where the network
    itself can be built, which --net, --data or a file of `prunable train` allow, it is also
    timed, dense against pruned.

    Example: prunable prune model.safetensors --keep 0.1 --scope global --out pruned.safetensors
    """
    from prunable.experiments.prune.pruning import prune_checkpoint
    from prunable.report.prune.pruned import lost_line

    shape = Shape("prune", top, sort, as_csv, as_markdown, as_json)
    job = PruningJob.create(checkpoint=models[0], **given)
    if address is not None and backend != "ray":
        raise InputError(
            "`--address` of `prune` has no effect without --backend ray. Give that, or leave it "
            "out."
        )
    if compare and backend != "local":
        raise InputError(f"`--backend {backend}` of `prune` has no effect with --compare.")
    if compare:
        _compare(models, job, as_json)
        return
    if len(models) > 1:
        raise InputError("`prune` takes one checkpoint; several go with --compare.")
    with terminal.progress("pruning") as advance:
        document = prune_checkpoint(
            job,
            lambda step, total: advance(step, total, "retraining"),
            advance,
            None if backend == "local" else RayBackend(address).spreading,
        )
    terminal.emit(document, as_json, lambda console: _show(document, console, shape))
    if document["lost"]:
        terminal.say(lost_line(**document["lost"]))


def _show(document: dict[str, Any], console: Console, shape: Shape) -> None:
    """Print the plan, what it left, what the network gained, and the files written."""
    from prunable.report.prune.pruned import pruned_table

    shape.show(pruned_table(document), console, lambda: _show_rest(document, console))


def _show_rest(document: dict[str, Any], console: Console) -> None:
    from prunable.report.prune.pruned import files_written, footprint_table, outputs_table

    if document["calibrated"]:
        outputs_table(document).print(console)
    if document["footprint"]:
        footprint_table(document["footprint"]).print(console)
    for line in files_written(document):
        console.print(line, soft_wrap=True, markup=False)


def _compare(models: list[Path], job: PruningJob, as_json: bool) -> None:
    """Prune each network by each strategy; write compare.json, compare.md and compare.svg."""
    from prunable.data.own import is_own
    from prunable.data.registry import registered
    from prunable.experiments.prune.effects import check_effects
    from prunable.experiments.prune.strategy_comparison import CONTENDERS, compare_strategies
    from prunable.files import write_bytes, write_text
    from prunable.report.figures import as_svg
    from prunable.report.prune import comparison
    from prunable.runs.store import Store

    if job.data is None or job.out is None:
        raise InputError("`prune --compare` needs --data NAME and --out FOLDER.")
    if is_own(job.data) or job.example is not None or job.input_shape is not None:
        raise InputError(
            "`prune --compare` takes a registered data set, see `prunable data list`, without "
            "--example and --input-shape."
        )
    check_effects(job, comparing=True)
    out, networks = job.out, tuple(map(str, models))
    total = len(networks) * (1 + len(CONTENDERS))
    with Store(out).locked(), terminal.counted("pruning", total) as one_more:
        found = compare_strategies(
            networks,
            job.data,
            out,
            net=job.net,
            retraining=job.retraining if job.retraining.epochs else None,
            seed=job.seed,
            unpickle=job.unpickle,
            backend=backend_of(),
            on_done=one_more,
        )
    entries, title = found.summary, f"Strategies on {registered(job.data).label}"
    command = f"prunable prune {' '.join(networks)} --compare --data {job.data} --out {out}"
    write_text(out / "compare.md", comparison.comparison_markdown(entries, title, command))
    write_bytes(out / "compare.svg", as_svg(comparison.comparison_figure(entries, title)))

    def show(console: Console) -> None:
        guesses = found.rows[0].get("guesses")
        comparison.comparison_table(entries, title, guesses).print(console)
        written = f"{out}: compare.json, compare.md, compare.svg"
        console.print(written, soft_wrap=True, markup=False)

    terminal.emit(found.to_dict(), as_json, show)
