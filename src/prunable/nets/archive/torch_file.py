"""Files of `torch.save`: nested mappings flattened to named tensors, no code run unasked."""

import mmap
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any, cast

import torch

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.extras import working_directory_first
from prunable.files import brief
from prunable.nets.archive import base
from prunable.nets.networks.numbers import no_array
from prunable.nets.networks.ties import ties_of

_WRAPPERS = frozenset(
    {
        "state_dict",
        "model",
        "model_state",
        "model_state_dict",
        "net",
        "network",
        "params",
        "weights",
        "module",
    }
)
LIGHTNING = "pytorch-lightning_version"  # in checkpoints of that library, beside its own state
_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # the number that begins files of torch < 1.6
_INTS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG"})  # of pickle
_KEEPS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_DEEPEST = 64  # levels of nesting; models have fewer than ten
_UNREAL_VIEW = 2**28  # bytes: larger tensors must have their own numbers in the file

_Found = tuple[list[tuple[str, torch.Tensor]], list[tuple[str, str]]]


def open_torch(path: Path, unpickle: bool) -> base.Archive:
    """List the tensors of one file of `torch.save`.

    A zip file is mapped into memory and read tensor by tensor; the older format is read whole.
    Names are the keys joined by dots, without a wrapper such as "state_dict" around the only
    mapping that holds tensors. `unpickle` allows pickled objects, which run the code they name.
    Raises DataIntegrityError if the file is damaged; InputError if it holds pickled objects and
    `unpickle` is off, or needs a class not installed here; UnsupportedModelError if it holds a
    program (TorchScript, torch.export) or is no file of `torch.save`.
    """
    with base.failures_named(path):
        with path.open("rb") as stream:
            head = stream.read(512)
        mapped = head.startswith(b"PK")
        if mapped:
            _check_zip(path)
        elif _MAGIC not in head[:64] and head[257:262] != b"ustar":
            raise UnsupportedModelError(
                f"{path} is a Python pickle, but no file of torch.save; load it where it comes "
                "from and save its tensors as safetensors."
            )
        else:
            _check_storages(path)
        found, skipped = _flatten(_load(path, unpickle, mapped))
        limit = path.stat().st_size
        tensors: list[base.StoredTensor] = []
        names = base.unique_names(name for name, _ in found)
        ties = ties_of(dict(zip(names, (tensor for _, tensor in found), strict=True)))
        for name, (_, tensor) in zip(names, found, strict=True):
            reason = _unreadable(tensor, limit)
            if reason:
                skipped.append((name, reason))
                continue
            dtype = str(tensor.dtype).removeprefix("torch.")
            read = partial(base.torch_to_numpy, tensor)
            stored = base.stored_tensor(path, name, tensor.shape, dtype, read)
            tensors.append(replace(stored, tied=ties.get(name)))
    return base.Archive(path, "torch", tuple(tensors), True, tuple(skipped))


def read_object(path: Path) -> Any:
    """Read one file of `torch.save` whole, without running code; its tensors are checked.

    Raises DataIntegrityError if the file is damaged; InputError if it holds pickled objects, or
    tensors that are no plain numbers.
    """
    with base.failures_named(path):
        with path.open("rb") as stream:
            mapped = stream.read(2) == b"PK"
        if mapped:
            _check_zip(path)
        else:
            _check_storages(path)
        loaded = _load(path, False, False)
        found, _ = _flatten(loaded)
        for name, tensor in found:
            if reason := _unreadable(tensor, path.stat().st_size):
                raise InputError(f"{path} holds `{name}`, {reason}.")
    return loaded


def _check_zip(path: Path) -> None:
    """Refuse what is a zip file, but not a whole one of `torch.save`."""
    with zipfile.ZipFile(path) as bundle:
        entries = bundle.infolist()
    inner = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        raise UnsupportedModelError(
            f"{path} is a TorchScript program, not a file of weights; load it with "
            "torch.jit.load, save its state_dict() as safetensors and give that file."
        )
    if "data.pkl" not in inner:
        raise UnsupportedModelError(
            f"{path} is a zip file, but none of torch.save; give the weights as safetensors, "
            "torch or ONNX."
        )
    # Nothing that torch.save writes is compressed; a small file must not unpack to a huge one.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataIntegrityError(
            f"{path} is a compressed zip file, which torch.save never writes; save it again."
        )


def _check_storages(path: Path) -> None:
    """Refuse an older file whose storages are larger than it, or tensors larger than their storage.

    The reader of torch takes memory for both before it reads a number.
    """
    with (
        path.open("rb") as file,
        # a file would take memory for any length of a text that it is asked to read
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
    ):
        limit = len(stream)
        if stream[257:262] == b"ustar":
            return  # of a format that torch refuses
        for _ in range(5):  # magic number, version, system, what was saved, names of storages
            ints: list[int] = []  # since the last storage
            inner: list[int] = []  # since the last mark
            held, tuples, before = 0, 2, ""
            for opcode, value, _ in pickletools.genops(cast(IO[bytes], stream)):
                if opcode.name == "DUP" or (before in _INTS and opcode.name in _KEEPS):
                    raise ValueError("numbers that are used again, which torch.save never writes")
                if before == "BINPERSID" and opcode.name not in _INTS:
                    tuples = 2  # no tensor follows
                before = opcode.name
                if before == "MARK":
                    inner = []
                elif before == "BINPERSID" and inner:  # without a number it is a module
                    held, tuples, ints = inner[-1], 0, []
                    if not 0 <= held <= limit:
                        raise ValueError(f"a storage of {held:,} numbers is more than it holds")
                elif type(value) is int and before in _INTS:
                    ints.append(value)
                    inner.append(value)
                elif before.startswith(("TUPLE", "EMPTY_TUPLE")):
                    tuples += 1
                    if tuples == 2:
                        _check_place(ints, held)


def _check_place(ints: list[int], held: int) -> None:
    """Refuse offset, sizes and strides that lead beyond so many numbers."""
    half = len(ints) // 2
    sizes, steps = ints[1 : half + 1], ints[half + 1 :]
    pairs = zip(sizes, steps, strict=False)
    last = sum(ints[:1]) + sum((size - 1) * step for size, step in pairs)
    if last >= max(held, 1) and 0 not in sizes:
        raise ValueError("a tensor reaches beyond its storage")


def _load(path: Path, unpickle: bool, mapped: bool) -> Any:
    # torch.load reads by the suffix where it is .safetensors, unless it is given a stream,
    # and it maps paths only.
    misnamed = path.suffix == ".safetensors"
    # classes of the user's own lie in the working directory; without unpickling none is looked for
    with (
        working_directory_first() if unpickle else nullcontext(),
        path.open("rb") as stream,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        try:
            return torch.load(
                stream if misnamed else path,
                map_location="cpu",
                weights_only=not unpickle,
                mmap=mapped and not misnamed,
            )
        except (UnpicklingError, RuntimeError) as error:
            protocol = any("pickle protocol" in str(w.message) for w in caught)
            named = _needs_unpickling(str(error), protocol)
            if unpickle or named is None:
                raise
            raise InputError(
                f"{path} holds pickled objects ({named}) that would run code when loaded. Save "
                "its state_dict as safetensors; or, if you trust its source, load it with "
                "--unpickle (`unpickle=True`)."
            ) from error
        except (ImportError, AttributeError) as error:
            if not unpickle:
                raise
            raise InputError(
                f"{path} holds objects of a class that is not installed here "
                f"({brief(error)}). Install the package that defines it, or save its "
                "state_dict as safetensors where it is."
            ) from error


def _needs_unpickling(message: str, newer_protocol: bool) -> str | None:
    """Name what the safe reader refuses, or return None where the file is merely damaged."""
    for pattern in (r"GLOBAL (\S+)", r"(\S+) must be imported to load"):
        if match := re.search(pattern, message):
            return match[1].strip("`")
    if ".tar format" in message:
        return "the tar format of torch < 0.2"
    if newer_protocol and "Unsupported operand" in message:
        return "a pickle protocol newer than 2"
    return None


def _flatten(loaded: Any) -> _Found:
    """List the tensors below an object with their names, and what is none."""
    if isinstance(loaded, torch.Tensor):
        return [("tensor", loaded)], []
    if isinstance(loaded, Mapping) and LIGHTNING in loaded and "state_dict" in loaded:
        found, skipped = _flatten({"state_dict": loaded["state_dict"]})
        others = [base.clean_name(key) for key in loaded if key != "state_dict"]
        return found, skipped + [(name, "state of the training") for name in others]
    prefix, (found, skipped) = "", _walk(loaded, "", set(), 0)
    while isinstance(loaded, Mapping):
        # Unwrap the only container that holds tensors, when it is known as a mere wrapper.
        held = _count(found, prefix) - sum(isinstance(v, torch.Tensor) for v in loaded.values())
        holder = next((k for k in _WRAPPERS & loaded.keys() if _count(found, f"{prefix}{k}.")), "")
        if not holder or _count(found, f"{prefix}{holder}.") != held:
            break
        prefix += f"{holder}."
        loaded = loaded[holder]
    names = [name.removeprefix(prefix) for name, _ in found]
    if len(set(names)) == len(names):
        found = [(name, tensor) for name, (_, tensor) in zip(names, found, strict=True)]
    return found, skipped


def _count(found: list[tuple[str, torch.Tensor]], prefix: str) -> int:
    return sum(name.startswith(prefix) for name, _ in found)


def _walk(value: Any, name: str, seen: set[int], depth: int) -> _Found:
    if isinstance(value, torch.Tensor):
        return [(name, value)], []
    children = _children(value)
    if children is None:
        return [], [(name, f"no tensor: {type(value).__name__}")]
    if id(value) in seen:
        return [], [(name, "the same object as an earlier entry")]
    if depth > _DEEPEST:
        return [], [(name, f"nested more than {_DEEPEST} levels deep")]
    seen.add(id(value))
    found: list[tuple[str, torch.Tensor]] = []
    skipped: list[tuple[str, str]] = []
    for key, child in children:
        below = f"{name}.{base.clean_name(key)}" if name else base.clean_name(key)
        if _is_optimizer(base.clean_name(key), child):
            skipped.append((below, "state of an optimizer"))
            continue
        tensors, others = _walk(child, below, seen, depth + 1)
        found += tensors
        skipped += others
    if not found and name:
        # One entry for a whole history of losses, not one a number.
        return [], [(name, f"no weights in this {type(value).__name__}")]
    return found, skipped


def _is_optimizer(key: str, value: Any) -> bool:
    if isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys():
        return True
    return key.lower().startswith("optim") and _children(value) is not None


def _children(value: Any) -> Iterator[tuple[Any, Any]] | None:
    """Return the named members of a container; None where `value` is none."""
    if isinstance(value, torch.nn.Module):
        return iter(value.state_dict().items())
    if isinstance(value, Mapping):
        return iter(value.items())
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return iter(enumerate(value))
    return None


def _unreadable(tensor: torch.Tensor, limit: int) -> str | None:
    """Say why a tensor cannot be loaded; `limit` is the size of its file in bytes."""
    if tensor.is_meta:
        return "a meta tensor, without numbers"
    if odd := no_array(tensor):
        return odd
    dtype = str(tensor.dtype).removeprefix("torch.")
    if not base.can_load(dtype):
        return f"numbers of type {dtype}"
    # The reader of torch grows a storage to whatever shape a damaged header asks for.
    held = tensor.untyped_storage().nbytes()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * step for size, step in steps)
    if tensor.numel() and (held > limit or (last + 1) * tensor.element_size() > held):
        raise ValueError("a tensor reaches beyond the end of the file")
    size = tensor.numel() * tensor.element_size()
    return "a view that repeats its numbers" if size > max(held, _UNREAL_VIEW) else None
