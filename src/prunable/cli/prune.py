"""`prunable prune`: prune a checkpoint without building its model."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from prunable.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from prunable.nets.plan import Budget
    from prunable.nets.strategies import Strategy


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


def prune(
    model: Annotated[Path, typer.Argument(help="Checkpoint: safetensors or torch.")],
    out: Annotated[Path | None, typer.Option(help="Pruned safetensors file to write.")] = None,
    method: Annotated[
        Method, typer.Option(help="unit: rows; node: columns of one input.")
    ] = Method.MAGNITUDE,
    keep: Annotated[float | None, typer.Option(help="Share to keep, kappa in [0, 1].")] = None,
    eps: Annotated[
        float | None, typer.Option(help="Relative l_2 error allowed in each layer.")
    ] = None,
    energy: Annotated[
        float | None, typer.Option(help="Share of each layer's squared norm to retain.")
    ] = None,
    scope: Annotated[
        Literal["layer", "global"], typer.Option(help="Share of each layer, or of all together.")
    ] = "layer",
    allocation: Annotated[
        Divided, typer.Option(help="With --scope global: how layers share, for magnitude.")
    ] = Divided.THRESHOLD,
    only: Annotated[
        list[str] | None, typer.Option(help="Parameters to prune; patterns with * and ?.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Parameters to leave alone.")] = None,
    storage: Annotated[
        Literal["dense", "bitmask"],
        typer.Option(help="dense: zeros stored; bitmask: a bit a weight and what is left."),
    ] = "dense",
    seed: Annotated[int, typer.Option(help="Of methods that draw.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Let a layer be pruned to nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    unpickle: Annotated[
        bool, typer.Option("--unpickle", help="Let a pickled model run its code.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout.")] = False,
) -> None:
    """Prune a network and show what is left, layer by layer.

    The file is written whole or not at all; the checkpoint stays as it is.

    Example: prunable prune model.safetensors --keep 0.1 --scope global --out pruned.safetensors
    """
    import torch

    from prunable.nets.archive import open_archive, save_tensors
    from prunable.nets.interop import merge_masks
    from prunable.nets.pruning import prune as prune_tensors
    from prunable.nets.sparse_file import save_sparse

    if out is None and not dry_run:
        raise InputError("`prune` needs --out FILE, or --dry-run to show the plan only.")
    budget = _budget(keep, eps, energy, scope)
    with open_archive(model, unpickle=unpickle) as archive:
        if archive.format == "onnx":
            raise UnsupportedModelError(
                f"{model} is an ONNX file, which `prune` cannot write; prune what it was made from."
            )
        # half precision is read as float32, and back is exact
        stored = {
            t.name: torch.from_numpy(t.load().copy()).to(getattr(torch, t.dtype))
            for t in archive.tensors
        }
    tensors = merge_masks(stored)
    result = prune_tensors(
        tensors, _strategy(method, allocation), budget, only=only or ["*"],
        exclude=exclude or [], seed=seed, force=force, dry_run=dry_run,
    )  # fmt: skip
    document = {"model": str(model), **result.to_dict(), "out": None, "bytes": None}
    if out is not None and not dry_run:
        (save_sparse if storage == "bitmask" else save_tensors)(out, tensors)
        document |= {"out": str(out), "storage": storage, "bytes": out.stat().st_size}
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _render(document)


def _budget(
    keep: float | None, eps: float | None, energy: float | None, scope: Literal["layer", "global"]
) -> Budget:
    from prunable.nets.plan import Energy, Error, Keep

    given = [value is not None for value in (keep, eps, energy)]
    if sum(given) != 1:
        raise InputError("`prune` needs exactly one of --keep, --eps and --energy.")
    if keep is not None:
        return Keep(keep, scope)
    if scope == "global":
        raise InputError("`--scope global` of `prune` goes with --keep; errors are layer by layer.")
    return Error(eps) if eps is not None else Energy(energy or 0.0)


def _strategy(method: Method, allocation: Divided) -> Strategy:
    from prunable.nets.strategies import (
        Allocation,
        MagnitudePruning,
        NodePruning,
        RandomizedMagnitudePruning,
        RandomPruning,
        SingularValuePruning,
    )

    strategies: dict[Method, Strategy] = {
        Method.MAGNITUDE: MagnitudePruning(allocation=Allocation(allocation.value)),
        Method.UNIT: NodePruning(axis="unit"),
        Method.NODE: NodePruning(axis="input"),
        Method.KERNEL: NodePruning(axis="kernel"),
        Method.RANDOMIZED: RandomizedMagnitudePruning(),
        Method.SINGULAR_VALUE: SingularValuePruning(),
        Method.RANDOM: RandomPruning(),
    }
    return strategies[method]


def _render(document: dict[str, Any]) -> None:
    plan, console = document["plan"], Console()
    table = Table("layer", "shape", "pruned", title=f"{plan['method']} pruning")
    for title in ("kept", "of", "kappa", "eps"):
        table.add_column(title, justify="right")
    for layer in plan["layers"]:
        table.add_row(
            layer["name"],
            "x".join(map(str, layer["shape"])),
            f"{layer['axis'].replace('_', ' ')}s",
            f"{layer['n_kept']:,}",
            f"{layer['n_total']:,}",
            f"{layer['kappa']:.4g}",
            f"{layer['eps']:.4g}",
        )
    console.print(table)
    console.print(
        f"{plan['n_parameters_kept']:,} of {plan['n_parameters']:,} planned weights kept "
        f"({100 * plan['kappa']:.4g} %); numbers that are not zero: "
        f"{document['n_nonzero_before']:,} before, {document['n_nonzero']:,} after."
    )
    if document["out"]:
        size = f"{document['bytes']:,} bytes ({document['storage']})"
        console.print(f"{document['out']}: {size}", soft_wrap=True, highlight=False)
