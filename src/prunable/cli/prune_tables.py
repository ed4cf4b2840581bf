"""What `prunable prune` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def show(document: dict[str, Any], console: Console) -> None:
    """Print the plan, what it left, what the network gained, and the files written."""
    plan = document["plan"]
    table = Table("layer", "shape", "pruned", title=f"{plan['method']} pruning")
    for title in ("kept", "of", "asked", "kappa", "eps"):
        table.add_column(title, justify="right")
    for layer in plan["layers"]:
        asked = layer["kappa_asked"]
        table.add_row(
            layer["name"],
            "x".join(map(str, layer["shape"])),
            f"{layer['axis'].replace('_', ' ')}s",
            f"{layer['n_kept']:,}",
            f"{layer['n_total']:,}",
            "" if asked is None else f"{asked:.4g}",
            f"{layer['kappa']:.4g}",
            f"{layer['eps']:.4g}",
        )
    console.print(table)
    console.print(
        f"{plan['n_parameters_kept']:,} of {plan['n_parameters']:,} planned weights kept "
        f"({100 * plan['kappa']:.4g} %); numbers that are not zero: "
        f"{document['n_nonzero_before']:,} before, {document['n_nonzero']:,} after."
    )
    if retrained := document["retrained"]:
        console.print(
            f"Retrained for {retrained['steps']:,} steps: training accuracy "
            f"{retrained['train_accuracy']:.4f}."
        )
    if shrunk := document["shrunk"]:
        console.print(
            f"Shrunk from {shrunk['n_parameters_before']:,} to {shrunk['n_parameters']:,} "
            f"parameters; max |exported(x) - pruned(x)| = {shrunk['max_difference']:.3g}."
        )
    if document["footprint"]:
        console.print(_footprint(document["footprint"]))
    if document["out"]:
        size = f"{document['bytes']:,} bytes ({document['storage']})"
        before = f", {document['bytes_before']:,} before"
        console.print(f"{document['out']}: {size}{before}", soft_wrap=True, highlight=False)
    if document["onnx"]:
        onnx = document["onnx"]
        console.print(
            f"{onnx['path']}: {onnx['bytes']:,} bytes (ONNX); max difference of onnxruntime "
            f"{onnx['max_difference']:.3g}",
            soft_wrap=True,
            highlight=False,
        )


def _footprint(footprint: dict[str, Any]) -> Table:
    """A network a column: dense, pruned, exported."""
    models = footprint["models"]
    table = Table("", title="Before and after, measured")
    for name in models:
        table.add_column(name, justify="right")
    table.add_row("parameters", *(f"{m['parameters']:,}" for m in models.values()))
    table.add_row("non-zeros", *(f"{m['nonzeros']:,}" for m in models.values()))
    table.add_row("bytes on disk", *(f"{m['disk_bytes']:,}" for m in models.values()))
    table.add_row("MACs an example", *(f"{m['macs']:,}" for m in models.values()))
    table.add_row("peak memory, bytes", *(f"{m['peak_bytes']:,}" for m in models.values()))
    for size in next(iter(models.values()))["milliseconds"]:
        table.add_row(
            f"ms at batch {size}",
            *(f"{m['milliseconds'][size]['median']:.3g}" for m in models.values()),
        )
    if any(m["accuracy"] is not None for m in models.values()):
        table.add_row("accuracy", *(f"{m['accuracy']:.4f}" for m in models.values()))
    return table
