"""`prunable sketch`: store a pruned checkpoint as sparse matrix sketches, and get it back."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from prunable.errors import InputError, UnsupportedModelError
from prunable.files import check_ending, check_places
from prunable.report.tables import MISSING, as_percent, table
from prunable.report.terminal import AsJson, Seed, Unpickle, emit

if TYPE_CHECKING:
    import torch

app = typer.Typer(
    help="Sparse matrix sketches: encode a pruned checkpoint, decode it bit for bit.",
    no_args_is_help=True,
)
TITLES = ("tensor", "nonzero, %", "sketch", "stored", "plain", "bitmask", "entropy")


@app.command("encode")
def encode(
    file: Annotated[Path, typer.Argument(help="Checkpoint: safetensors or torch.")],
    out: Annotated[Path, typer.Option(help="File of sketches to write.")],
    only: Annotated[
        list[str] | None,
        typer.Option(help="Sketch these tensors, however large; patterns with * and ?."),
    ] = None,
    seed: Seed = 0,
    unpickle: Unpickle = False,
    as_json: AsJson = False,
) -> None:
    """Sketch the sparse tensors of a checkpoint, where that is smaller; keep the others.

    The round trip is lossless: every sketch is decoded before the file is written.

    Example: prunable sketch encode pruned.safetensors --out pruned.sketch
    """
    from prunable.sketch.file import save_sketches

    check_places("sketch encode", {"--out": out}, {"the checkpoint": file})
    tensors, metadata = _read(file, unpickle)
    patterns = only or []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in tensors):
            raise InputError(
                f"`--only {pattern}` of `sketch encode` names no tensor of {file}; there are "
                f"{', '.join(list(tensors)[:5])}{', ...' if len(tensors) > 5 else ''}."
            )

    def asked(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    reports = save_sketches(out, tensors, metadata, asked=asked if patterns else None, seed=seed)
    document = {
        "model": str(file),
        "out": str(out),
        "bytes_before": file.stat().st_size if file.is_file() else None,
        "bytes": out.stat().st_size,
        "n_sketched": sum(r.stored == "sketch" for r in reports),
        "tensors": [r.to_dict() for r in reports],
    }
    emit(document, as_json, lambda console: _show(document, console))


@app.command("decode")
def decode(
    file: Annotated[Path, typer.Argument(help="File of `prunable sketch encode`.")],
    out: Annotated[Path, typer.Option(help="Safetensors file to write.")],
    as_json: AsJson = False,
) -> None:
    """Decode a file of sketches to the checkpoint it was made from, bit for bit.

    Example: prunable sketch decode pruned.sketch --out pruned.safetensors
    """
    from prunable.nets.archive import save_tensors
    from prunable.sketch.file import load_sketches

    check_ending(out, "--out", "sketch decode", "", ".safetensors")
    check_places("sketch decode", {"--out": out}, {"the file of sketches": file})
    tensors, metadata = load_sketches(file)
    save_tensors(out, tensors, metadata)
    document = {
        "sketch": str(file),
        "out": str(out),
        "bytes": out.stat().st_size,
        "n_tensors": len(tensors),
        "n": sum(t.numel() for t in tensors.values()),
    }
    said = f"{out}: {len(tensors)} tensors, every digest agrees"
    emit(document, as_json, lambda console: console.print(said, soft_wrap=True))


def _read(file: Path, unpickle: bool) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header text; safetensors are read bit for bit, whatever their types."""
    import torch

    from prunable.nets.archive import load_tensors, open_archive

    with open_archive(file, unpickle=unpickle) as archive:
        if archive.format == "onnx":
            raise UnsupportedModelError(
                f"{file} is an ONNX file, which `sketch encode` cannot restore; "
                "give what it was made from."
            )
        if archive.format == "safetensors" and file.is_file() and file.suffix != ".json":
            return load_tensors(file)
        # half precision is read as float32, and back is exact
        return {
            t.name: torch.from_numpy(t.load().copy()).to(getattr(torch, t.dtype))
            for t in archive.tensors
        }, {}


def _show(document: dict[str, Any], console: Console) -> None:
    tensors = document["tensors"]
    notes = [
        f"{document['out']}: {document['bytes']:,} bytes, {document['n_sketched']} of "
        f"{len(tensors)} tensors sketched."
    ]
    if negative := sum(t["n_negative_zeros"] for t in tensors):
        notes = [
            f"{negative:,} entries are -0, which masks leave; keeping their signs costs a bit "
            "a weight.",
            *notes,
        ]
    title = "Sparse matrix sketch: bytes of each tensor, and of other ways"
    table(TITLES, map(_row, tensors), title=title, notes=notes).print(console)


def _row(tensor: dict[str, Any]) -> tuple[str, ...]:
    ways = ("bytes", "bytes_dense", "bytes_bitmask", "bytes_entropy")
    return (
        tensor["name"],
        as_percent(tensor["n_nonzero"] / max(tensor["n"], 1), 2),
        " x ".join(map(str, tensor["m"])) if tensor["m"] else MISSING,
        *(MISSING if tensor[way] is None else f"{tensor[way]:,.0f}" for way in ways),
    )
