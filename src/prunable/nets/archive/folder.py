"""Models in several files: which file of a folder to open, and shards joined by an index."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from prunable.errors import DataIntegrityError, InputError
from prunable.files import read_json
from prunable.nets.archive.base import Archive, failures_named

OpenFile = Callable[[Path], Archive]
LONGEST_NAME = 255  # characters; what file systems take
NOT_LISTED = "not in the index"  # why a tensor of a shard is skipped


def check_inside(file: Path, folder: Path) -> None:
    """Refuse a file of a folder that is a link to outside of it, as what is fetched may hold.

    In a folder of the hub's own cache, links lead to the blobs beside its snapshots.

    Raises
    ------
    InputError : Naming the link.
    """
    target, root = file.resolve(), folder.resolve()
    blobs = root.parent.parent / "blobs"
    if target.is_relative_to(root):
        return
    if root.parent.name != "snapshots" or not target.is_relative_to(blobs):
        raise InputError(
            f"{file} is a link to {target}, outside its folder, and is not followed; put the file "
            "itself there, or give the folder that it lies in."
        )


def open_folder(folder: Path, open_file: OpenFile) -> Archive:
    """Open the weights that a folder holds, each file by `open_file`.

    Looked for in this order: an index of safetensors, model.safetensors or the safetensors there
    are, an index of torch files, one torch file, one ONNX file, one GGUF file. Raises
    DataIntegrityError if there are no weights, or several files hold the same tensor; InputError if
    there are several files to choose from.
    """
    with failures_named(folder):
        files = sorted(path for path in folder.iterdir() if path.is_file())

    def ending(*suffixes: str) -> list[Path]:
        return [path for path in files if path.name.endswith(suffixes)]

    if found := ending(".safetensors.index.json"):
        return open_index(_only(found, folder), open_file)
    if found := ending(".safetensors"):
        whole = [path for path in found if path.name == "model.safetensors"]
        return _join(folder, [open_file(path) for path in whole or found])
    if found := ending(".bin.index.json"):
        return open_index(_only(found, folder), open_file)
    for suffixes in ((".bin", ".pt", ".pth"), (".onnx",), (".gguf",)):
        if found := ending(*suffixes):
            return open_file(_only(found, folder))
    raise DataIntegrityError(
        f"{folder} holds no weights; looked for *.safetensors.index.json, *.safetensors, "
        "*.bin.index.json, *.bin, *.pt, *.pth, *.onnx and *.gguf. Give the file of weights itself."
    )


def open_index(index: Path, open_file: OpenFile) -> Archive:
    """Open the shards that an index names by its "weight_map", as one archive.

    Raises DataIntegrityError if the index is malformed, or names a file outside its folder, a file
    that is missing or a tensor that its file does not hold.
    """
    weight_map = _weight_map(index)
    for shard in dict.fromkeys(weight_map.values()):
        plain = shard == Path(shard).name and not set("\\\0") & set(shard) and shard != ".."
        if not plain or len(shard) > LONGEST_NAME:
            raise DataIntegrityError(
                f"{index} names the shard {shard[:LONGEST_NAME]!r}; a shard must be a plain file "
                "name in the folder of its index. Fetch the index again from a source you trust."
            )
        with failures_named(index):  # of names that the file system does not take
            there = (index.parent / shard).is_file()
        if not there:
            raise DataIntegrityError(
                f"{index} names the shard {shard!r}, which is missing; fetch it too."
            )
    # Numbered shards cut the model in its order, which the index itself does not keep.
    parts = []
    for shard in sorted(set(weight_map.values())):
        part = open_file(index.parent / shard)
        held = {tensor.name for tensor in part.tensors} | {name for name, _ in part.skipped}
        wanted = {name for name, place in weight_map.items() if place == shard}
        if absent := sorted(wanted - held):
            raise DataIntegrityError(
                f"{index} places tensor {absent[0]!r} in {shard!r}, which does not hold it; "
                "fetch both again."
            )
        tensors = tuple(tensor for tensor in part.tensors if tensor.name in wanted)
        others = tuple((t.name, NOT_LISTED) for t in part.tensors if t.name not in wanted)
        parts.append(replace(part, tensors=tensors, skipped=part.skipped + others))
    return _join(index, parts)


def _weight_map(index: Path) -> Mapping[str, str]:
    check_inside(index, index.parent)
    document = read_json(index, "fetch the index again from a source you trust")
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found or not all(map(_is_text, found.values())):
        raise DataIntegrityError(
            f'{index} is no index of shards: it has no "weight_map" of tensor names to file '
            "names. Give the file of weights itself."
        )
    return found


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _join(path: Path, parts: list[Archive]) -> Archive:
    """Make one archive of several; a tensor may be in one of them only."""
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    (name, times), *_ = Counter(t.name for t in tensors).most_common(1) or [("", 0)]
    if times > 1:
        raise DataIntegrityError(
            f"{path} holds tensor {name!r} in {times} files; give one file, or an index."
        )
    formats = sorted({part.format for part in parts})
    if len(formats) > 1:
        raise DataIntegrityError(
            f"{path} joins files of the formats {' and '.join(formats)}; give one file."
        )
    skipped = tuple(entry for part in parts for entry in part.skipped)
    return Archive(path, formats[0], tensors, all(part.ordered for part in parts), skipped)


def _only(found: list[Path], folder: Path) -> Path:
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise InputError(
            f"{folder} holds {len(found)} files of weights ({names}{more}); give one of them."
        )
    return found[0]
