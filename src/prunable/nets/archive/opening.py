"""Finding out what a path holds, and opening it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import onnx_file, safetensors_file, torch_file
from prunable.nets.archive.base import Archive, StoredTensor, damage_named

TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".tar")
LOOKED_FOR = "*.safetensors.index.json, *.safetensors, *.bin, *.pt, *.pth, *.onnx"


@contextmanager
def open_archive(path: str | Path, *, unpickle: bool = False) -> Iterator[Archive]:
    """Open a checkpoint of any format, told by its content.

    Parameters
    ----------
    path : str or Path
        A safetensors, torch or ONNX file, an index of shards, or a folder with one of these.
    unpickle : bool
        Whether pickled objects may run their code; only for files that you trust.

    Yields
    ------
    Archive
        Its tensors can be loaded until the context ends.

    Raises
    ------
    InputError
        If loading would run code, a package is missing, or a folder leaves a choice.
    UnsupportedModelError
        If the format cannot be read.
    DataIntegrityError
        If files are missing, damaged or without weights.
    """
    place = Path(path)
    with ExitStack() as stack:
        yield (
            _open_folder(place, unpickle, stack)
            if place.is_dir()
            else _open_file(place, unpickle, stack)
        )


def _open_file(path: Path, unpickle: bool, stack: ExitStack) -> Archive:
    with damage_named(path):
        with path.open("rb") as stream:
            head = stream.read(16)
        size = path.stat().st_size
    if size == 0:
        raise DataIntegrityError(f"{path} is empty; fetch or write it again.")
    if path.name.endswith(".index.json"):
        if any(
            name.endswith(".safetensors") for name in safetensors_file.weight_map_of(path).values()
        ):
            return safetensors_file.read_shards(path, stack)
        return torch_file.read_shards(path, unpickle=unpickle)
    if path.suffix == ".safetensors" or safetensors_file.looks_like(head, size):
        return safetensors_file.read(path, stack)
    if path.suffix == ".onnx":
        return onnx_file.read(path)
    if torch_file.looks_like(head) or path.suffix in TORCH_SUFFIXES:
        return torch_file.read(path, unpickle=unpickle)
    raise DataIntegrityError(
        f"{path} is no safetensors, torch or ONNX file (an ONNX file must be named *.onnx)."
    )


def _open_folder(folder: Path, unpickle: bool, stack: ExitStack) -> Archive:
    def found(pattern: str) -> list[Path]:
        return sorted(p for p in folder.glob(pattern) if p.is_file())

    if index := found("*.safetensors.index.json"):
        return safetensors_file.read_shards(_only(index, folder), stack)
    if files := found("*.safetensors"):
        whole = [p for p in files if p.name == "model.safetensors"] or files
        return _joined(folder, [safetensors_file.read(p, stack) for p in whole])
    if index := found("*.bin.index.json"):
        return torch_file.read_shards(_only(index, folder), unpickle=unpickle)
    if files := [p for suffix in TORCH_SUFFIXES for p in found(f"*{suffix}")]:
        return torch_file.read(_only(files, folder), unpickle=unpickle)
    if files := found("*.onnx"):
        return onnx_file.read(_only(files, folder))
    raise DataIntegrityError(f"{folder} holds no weights; looked for {LOOKED_FOR}.")


def _only(files: list[Path], folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(p.name for p in files[:5])
        raise InputError(f"{folder} holds several models ({names}); name one of them.")
    return files[0]


def _joined(folder: Path, parts: list[Archive]) -> Archive:
    if len(parts) == 1:
        return parts[0]
    tensors: dict[str, StoredTensor] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in tensors:
                raise DataIntegrityError(
                    f"{part.path} repeats the tensor {tensor.name} of another file in {folder}; "
                    "name one of the files."
                )
            tensors[tensor.name] = tensor
    skipped = tuple(entry for part in parts for entry in part.skipped)
    return Archive(folder, "safetensors", tuple(tensors.values()), ordered=False, skipped=skipped)
