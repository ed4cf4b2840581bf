"""`prunable prune`: prune a checkpoint, and shrink, retrain and measure the network it holds."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from prunable.cli.prune_tables import show
from prunable.errors import InputError

if TYPE_CHECKING:
    from prunable.experiments.prune.pruning import Retraining
    from prunable.nets.prune.plan import Budget
    from prunable.nets.prune.strategies import Strategy


class Method(StrEnum):
    """Strategies."""

    MAGNITUDE = "magnitude"
    UNIT = "unit"
    NODE = "node"
    KERNEL = "kernel"
    SINGULAR_VALUE = "singular-value"
    RANDOMIZED = "randomized"
    RANDOM = "random"


class Divided(StrEnum):
    """Rules that divide one share among layers."""

    THRESHOLD = "threshold"
    RELATIVE = "relative"
    COMMON_EPS = "common-eps"
    LAMP = "lamp"
    ERK = "erk"
    TAIL = "tail"


WHAT, NETWORK, AGAIN, FILES = "What to prune", "The network", "Retraining", "Files and output"


def prune(
    models: Annotated[
        list[Path], typer.Argument(help="Checkpoint: safetensors or torch; several with --compare.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Pruned file to write; folder with --compare.", rich_help_panel=FILES),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="unit: rows; node: columns of one input.", rich_help_panel=WHAT)
    ] = Method.MAGNITUDE,
    keep: Annotated[
        float | None, typer.Option(help="Share to keep, kappa in [0, 1].", rich_help_panel=WHAT)
    ] = None,
    eps: Annotated[
        float | None,
        typer.Option(help="Relative l_2 error allowed in each layer.", rich_help_panel=WHAT),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(help="Share of each layer's squared norm to retain.", rich_help_panel=WHAT),
    ] = None,
    scope: Annotated[
        Literal["layer", "global"],
        typer.Option(help="Share of each layer, or of all together.", rich_help_panel=WHAT),
    ] = "layer",
    allocation: Annotated[
        Divided,
        typer.Option(
            help="With --scope global: how layers share, for magnitude.", rich_help_panel=WHAT
        ),
    ] = Divided.THRESHOLD,
    center: Annotated[
        Literal["zero", "median"],
        typer.Option(help="What pruned weights are set to.", rich_help_panel=WHAT),
    ] = "zero",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Parameters to prune; patterns with * and ?.", rich_help_panel=WHAT),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Parameters to leave alone.", rich_help_panel=WHAT)
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of methods that draw, and of retraining.", rich_help_panel=WHAT)
    ] = 0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Let a layer be pruned to nothing.", rich_help_panel=WHAT),
    ] = False,
    net: Annotated[
        str | None,
        typer.Option(
            help="Architecture the weights belong to, if the file does not say: a name of "
            "`prunable train`, mlp, or MODULE:FUNCTION of your own.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set to measure accuracy and retrain on.", rich_help_panel=NETWORK),
    ] = None,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink",
            help="Cut out pruned nodes; factor layers of pruned singular values.",
            rich_help_panel=NETWORK,
        ),
    ] = False,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(help="Batch sizes to time; default 1 and 256.", rich_help_panel=NETWORK),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Prune by every strategy at six shares; accuracy against kappa.",
            rich_help_panel=NETWORK,
        ),
    ] = False,
    retrain: Annotated[
        int,
        typer.Option(help="Epochs to train on, pruned weights held at 0.", rich_help_panel=AGAIN),
    ] = 0,
    eta: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel=AGAIN)] = 0.05,
    batch: Annotated[int, typer.Option(help="Examples a step.", rich_help_panel=AGAIN)] = 128,
    optimizer: Annotated[
        Literal["sgd", "adam"], typer.Option(help="sgd has momentum 0.9.", rich_help_panel=AGAIN)
    ] = "sgd",
    schedule: Annotated[
        Literal["constant", "cosine"],
        typer.Option(help="Of the learning rate.", rich_help_panel=AGAIN),
    ] = "cosine",
    rewind: Annotated[
        Path | None,
        typer.Option(help="Weights to start again from, such as the first.", rich_help_panel=AGAIN),
    ] = None,
    noise: Annotated[
        Literal["none", "type1", "type2", "type3"],
        typer.Option(help="Injected noise.", rich_help_panel=AGAIN),
    ] = "none",
    alpha: Annotated[
        float | None, typer.Option(help="Its tail index.", rich_help_panel=AGAIN)
    ] = None,
    sigma: Annotated[float, typer.Option(help="Its level.", rich_help_panel=AGAIN)] = 0.0,
    storage: Annotated[
        Literal["dense", "bitmask"],
        typer.Option(
            help="dense: zeros stored; bitmask: a bit a weight and what is left.",
            rich_help_panel=FILES,
        ),
    ] = "dense",
    onnx: Annotated[
        Path | None, typer.Option(help="ONNX file to write as well.", rich_help_panel=FILES)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan only.", rich_help_panel=FILES)
    ] = False,
    unpickle: Annotated[
        bool,
        typer.Option("--unpickle", help="Let a pickled model run its code.", rich_help_panel=FILES),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result on stdout.", rich_help_panel=FILES)
    ] = False,
) -> None:
    """Prune a network and show what is left, layer by layer.

    Files are written whole or not at all; the checkpoint stays as it is. Where the network
    itself can be built, which --net, --data or a file of `prunable train` allow, it is also
    timed, dense against pruned.

    Example: prunable prune model.safetensors --keep 0.1 --scope global --out pruned.safetensors
    """
    from prunable.cli.prune_compare import compare as compare_all
    from prunable.experiments.prune.pruning import Job, prune_checkpoint

    retraining = (
        _retraining(retrain, eta, batch, optimizer, schedule, rewind, noise, alpha, sigma)
        if retrain
        else None
    )
    if compare:
        compare_all(
            models,
            data=data,
            net=net,
            out=out,
            retraining=retraining,
            seed=seed,
            unpickle=unpickle,
            as_json=as_json,
        )
        return
    if len(models) > 1:
        raise InputError("`prune` takes one checkpoint; several go with --compare.")
    if out is None and not dry_run:
        raise InputError("`prune` needs --out FILE, or --dry-run to show the plan only.")
    job = Job(
        checkpoint=models[0],
        strategy=_strategy(method, allocation, center),
        budget=_budget(keep, eps, energy, scope),
        net=net,
        data=data,
        shrink=shrink,
        retraining=retraining,
        out=out,
        onnx=onnx,
        storage=storage,
        batch_sizes=tuple(batch_size or (1, 256)),
        only=tuple(only or ("*",)),
        exclude=tuple(exclude or ()),
        seed=seed,
        force=force,
        dry_run=dry_run,
        unpickle=unpickle,
    )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("retraining", total=None, visible=retraining is not None)
        document = prune_checkpoint(
            job, lambda step, total: progress.update(task, completed=step, total=total)
        )
    if as_json:
        typer.echo(json.dumps(document))
    else:
        show(document, Console())


def _retraining(
    epochs: int,
    eta: float,
    batch: int,
    optimizer: Literal["sgd", "adam"],
    schedule: Literal["constant", "cosine"],
    rewind: Path | None,
    noise: Literal["none", "type1", "type2", "type3"],
    alpha: float | None,
    sigma: float,
) -> Retraining:
    from prunable.experiments.prune.pruning import Retraining
    from prunable.nets.train.noise import HeavyTailedNoise

    injected = None
    if noise != "none":
        if alpha is None:
            raise InputError("`--noise` of `prune` needs its tail index: give --alpha.")
        injected = HeavyTailedNoise(noise, alpha, sigma)
    return Retraining(
        epochs=epochs,
        eta=eta,
        batch=batch,
        optimizer=optimizer,
        schedule=schedule,
        rewind=rewind,
        noise=injected,
    )


def _budget(
    keep: float | None, eps: float | None, energy: float | None, scope: Literal["layer", "global"]
) -> Budget:
    from prunable.nets.prune.plan import Energy, Error, Keep

    given = [value is not None for value in (keep, eps, energy)]
    if sum(given) != 1:
        raise InputError("`prune` needs exactly one of --keep, --eps and --energy.")
    if keep is not None:
        return Keep(keep, scope)
    if scope == "global":
        raise InputError("`--scope global` of `prune` goes with --keep; errors are layer by layer.")
    return Error(eps) if eps is not None else Energy(energy or 0.0)


def _strategy(method: Method, allocation: Divided, center: Literal["zero", "median"]) -> Strategy:
    from prunable.nets.prune.strategies import (
        MagnitudePruning,
        MedianCentred,
        NodePruning,
        RandomizedMagnitudePruning,
        RandomPruning,
        SingularValuePruning,
    )

    strategies: dict[Method, Any] = {
        Method.MAGNITUDE: MagnitudePruning(allocation=allocation.value),
        Method.UNIT: NodePruning(axis="unit"),
        Method.NODE: NodePruning(axis="input"),
        Method.KERNEL: NodePruning(axis="kernel"),
        Method.RANDOMIZED: RandomizedMagnitudePruning(),
        Method.SINGULAR_VALUE: SingularValuePruning(),
        Method.RANDOM: RandomPruning(),
    }
    strategy: Strategy = strategies[method]
    return MedianCentred(strategy) if center == "median" else strategy
