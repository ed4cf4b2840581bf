"""Model files of any format, opened without building the model and read tensor by tensor."""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive.base import Archive, StoredTensor, failures_named
from prunable.nets.archive.folder import check_inside, open_folder, open_index
from prunable.nets.archive.gguf_file import MAGIC, open_gguf
from prunable.nets.archive.onnx_file import open_onnx
from prunable.nets.archive.safetensors_file import (
    load_tensors,
    open_safetensors,
    save_tensors,
    write_in_turn,
)
from prunable.nets.archive.torch_file import open_torch

__all__ = [
    "Archive",
    "StoredTensor",
    "load_tensors",
    "open_archive",
    "save_tensors",
    "write_in_turn",
]

# First bytes of files that people take for weights, and what to do about them.
_KNOWN = {
    b"version https://git-lfs": "is a pointer to a large file, not the file; run git lfs pull",
    b"\x89HDF": "is an HDF5 file; save the weights as safetensors",
    b"<!DOCTYPE": "is a web page, not a file of weights; fetch it again",
    b"<!doctype": "is a web page, not a file of weights; fetch it again",
    b"<html": "is a web page, not a file of weights; fetch it again",
}
_LONGEST_HEADER = 100_000_000  # bytes, by the definition of safetensors


@contextmanager
def open_archive(path: str | Path, *, unpickle: bool = False) -> Iterator[Archive]:
    """Open a checkpoint of any format and list its tensors, without building the model.

    Raises DataIntegrityError if the file is missing, damaged or incomplete, or holds no tensors;
    InputError if the path cannot be read or is ambiguous, or the file holds pickled objects;
    UnsupportedModelError if the file holds a program, or is of a format without a reader. The
    tensors can be loaded until the context ends. `path` is a safetensors, torch, ONNX or GGUF file,
    told apart by content; an index of shards (`*.index.json`); or a folder that holds one of these.
    `unpickle` says whether a torch file may run the code that its pickled objects name.
    """
    path = Path(path)
    with ExitStack() as stack:

        def open_file(file: Path) -> Archive:
            if file != path:
                check_inside(file, file.parent)
            return _open_file(file, stack, unpickle)

        if _is_folder(path):
            archive = open_folder(path, open_file)
        elif path.suffix == ".json":
            archive = open_index(path, open_file)
        else:
            archive = open_file(path)
        if not archive.tensors:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in archive.skipped[:3])
            raise DataIntegrityError(
                f"{path} holds no tensors that can be read{reasons and f' ({reasons})'}; "
                "give the file of weights."
            )
        yield replace(archive, path=path)


def _is_folder(path: Path) -> bool:
    """Tell a folder from a file; refuse what is neither."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot read {str(path)!r}: {reason}. Check the path and its permissions."
        ) from error
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        raise InputError(f"{path} is neither a file nor a folder; give a file of weights.")
    return stat.S_ISDIR(kind)


def _open_file(path: Path, stack: ExitStack, unpickle: bool) -> Archive:
    """Open one file by the format of its first bytes; the suffix settles what they leave open."""
    with failures_named(path), path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        raise DataIntegrityError(f"{path} is empty; fetch or write it again.")
    # Safetensors begin with the length of a JSON object: any byte may come first.
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= _LONGEST_HEADER:
        return open_safetensors(path, stack)
    for start, found in _KNOWN.items():
        if head.startswith(start):
            raise DataIntegrityError(f"{path} {found}.")
    if head.startswith(MAGIC):
        return open_gguf(path)
    if head.startswith((b"PK", b"\x80")) or head[257:262] == b"ustar":
        return open_torch(path, unpickle)
    if path.suffix == ".onnx":
        return open_onnx(path)
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return open_safetensors(path, stack)
    if head.startswith(b"\x08"):  # the version field, which ONNX writers put first
        return open_onnx(path)
    raise DataIntegrityError(
        f"{path} is of no known format; give weights as safetensors, torch, ONNX or GGUF."
    )
