"""Checkpoints whose sparse tensors are stored as sketches: an exact round trip, bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.numerics.randomness import child_seed
from prunable.sketch.recovery import (
    Ensemble,
    Entries,
    SketchSize,
    TaggedSketch,
    Verdict,
    compare_sizes,
    decode_tagged,
    delta_random,
    distributed_sparsity,
    identity,
    sketch_size,
    tagged_sketch,
)
from prunable.sketch.recovery.channels import TagLayout
from prunable.sketch.recovery.sizes import LINE_FACTOR, TAGGED_FACTOR

FORMAT = "sketch-1"
PLAIN, VALUES, TAGS, SIGNS = "plain::", "values::", "tags::", "signs::"
ATTEMPTS = 6  # each larger by a tenth in both factors than the one before
# unsigned and signed types of the widths that are sketched; torch stores the signed ones
UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED: dict[int, Any] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
# -0 in more than one of so many entries is stored as a bit an entry, beside the sketch
RARE = 200
TOO_LARGE = "a sketch would be larger"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class TensorReport:
    """How one tensor was stored, and what else it could have been.

    Attributes
    ----------
    name, dtype, shape
        Of the tensor.
    stored : str
        "sketch" or "plain".
    reason : str
        Why it is plain; empty for a sketch.
    n, n_nonzero, n_negative_zeros : int
        Entries, those that are not 0 or -0, and those that are -0.
    j_r, j_c : int
        Entries in the fullest row and column of the tensor as a matrix (first axis, rest); None
        of tensors too dense to sketch.
    m : tuple of (int, int) or None
        Sizes of the sketch.
    attempts : int
        Draws of A and B until the sketch decoded; 0 if it was not tried.
    bytes : int
        Of what is stored.
    bytes_dense, bytes_bitmask, bytes_entropy : float
        As it is; a bit a position and the rest; by the entropy of positions and values (None
        like `j_r`).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: str
    reason: str
    n: int
    n_nonzero: int
    n_negative_zeros: int
    j_r: int | None
    j_c: int | None
    m: tuple[int, int] | None
    attempts: int
    bytes: int
    bytes_dense: float
    bytes_bitmask: float
    bytes_entropy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def save_sketches(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    asked: Callable[[str], bool] | None = None,
    seed: int = 0,
    on_tensor: Callable[[TensorReport], None] | None = None,
) -> list[TensorReport]:
    """Write a checkpoint with its sparse tensors sketched, atomically.

    Every sketch is decoded before it is written: what does not decode to the same bits is
    sketched anew, larger, or stored as it is.

    Parameters
    ----------
    path : Path
        Destination.
    tensors : mapping of str to Tensor
        Any dtype.
    metadata : mapping of str to str, optional
        Text of the original's header, restored with it.
    asked : callable, optional
        Says of a name whether its tensor is sketched, however large that is; others are stored
        as they are. Without it, tensors are sketched where that is smaller.
    seed : int
        Root of the seeds of A and B.
    on_tensor : callable, optional
        Is told of each tensor when it is done.

    Returns
    -------
    list of TensorReport
        In the order of `tensors`.

    Raises
    ------
    InputError
        If the file cannot be written, or an asked tensor cannot be sketched.
    """
    stored: dict[str, torch.Tensor] = {}
    records: dict[str, Any] = {}
    reports = []
    for name, tensor in tensors.items():
        parts, record, report = _encode(name, tensor, None if asked is None else asked(name), seed)
        stored |= parts
        records[name] = record
        reports.append(report)
        if on_tensor:
            on_tensor(report)
    text = json.dumps({"metadata": dict(metadata or {}), "tensors": records}, ensure_ascii=False)
    save_tensors(path, stored, {"format": FORMAT, "sketch": text, "digest": _digest(text.encode())})
    return reports


def load_sketches(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a file of `save_sketches`, decode it, and check every tensor's digest.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of (dict of str to Tensor, dict of str to str)
        Tensors, bit for bit what was saved, and the original's metadata.

    Raises
    ------
    DataIntegrityError
        If the file is missing, truncated, of another format, or altered; names the tensor.
    """
    stored, header = load_tensors(path)
    text = header.get("sketch", "")
    if header.get("format") != FORMAT:
        raise DataIntegrityError(
            f"{path} is no file of sketches; give one written by `prunable sketch encode`."
        )
    if _digest(text.encode()) != header.get("digest"):
        raise DataIntegrityError(f"the header of {path} was altered; encode the checkpoint again.")
    tensors = {}
    try:
        document = json.loads(text)
        for name, record in document["tensors"].items():
            tensors[name] = _decode(path, name, record, stored)
        metadata = {str(key): str(value) for key, value in document["metadata"].items()}
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        RuntimeError,
        MemoryError,
        OverflowError,
    ) as error:
        raise DataIntegrityError(
            f"{path} is no whole file of sketches ({error}); encode the checkpoint again."
        ) from error
    return tensors, metadata


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A sketch that decodes, or None, with the number of draws and the reason."""

    size: SketchSize | None
    measured: TaggedSketch | None
    seed: int
    attempts: int
    reason: str


def _encode(
    name: str, tensor: torch.Tensor, asked: bool | None, seed: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any], TensorReport]:
    """Parts to store, record of the header, and report of one tensor."""
    content = _bytes(tensor)
    width, shape = tensor.dtype.itemsize, tuple(tensor.shape)
    dtype, matrix_shape = str(tensor.dtype).removeprefix("torch."), _matrix_shape(shape)
    record: dict[str, Any] = {
        "shape": list(shape),
        "dtype": dtype,
        "digest": _digest(content.tobytes()),
    }
    parts = {PLAIN + name: tensor}
    facts: dict[str, Any] = {
        "name": name,
        "dtype": dtype,
        "shape": shape,
        "stored": "plain",
        "n": math.prod(shape),
        "n_nonzero": math.prod(shape),
        "n_negative_zeros": 0,
        "j_r": None,
        "j_c": None,
        "m": None,
        "attempts": 0,
        "bytes": content.size,
        "bytes_dense": content.size,
        "bytes_bitmask": content.size,
        "bytes_entropy": None,
    }
    if width not in UNSIGNED or matrix_shape is None:
        if asked:
            raise InputError(
                f"tensor {name!r} ({dtype}, shape {shape}) cannot be sketched; leave it out."
            )
        return parts, record, TensorReport(**facts, reason="empty, or of a type of another width")
    bits, signs = content.view(UNSIGNED[width]), dict[str, torch.Tensor]()
    if tensor.dtype.is_floating_point:
        negative = bits == _sign_bit(width)
        facts["n_negative_zeros"] = int(np.count_nonzero(negative))
        if facts["n_negative_zeros"] * RARE > bits.size:
            bits = np.where(negative, UNSIGNED[width](0), bits)
            signs[SIGNS + name] = torch.from_numpy(np.packbits(negative))
    count, most = int(np.count_nonzero(bits)), content.size / (TAGGED_FACTOR**2 * (width + 3))
    if not asked and count > most:
        # too dense even for the smallest sketch: spare the memory of its entries
        facts |= {
            "n_nonzero": count if signs else count - facts["n_negative_zeros"],
            "bytes_bitmask": bits.size / 8 + count * width,
            "bytes_entropy": None,
        }
        reason = "not asked for" if asked is False else TOO_LARGE
        return parts, record, TensorReport(**facts, reason=reason)
    entries = Entries.of(bits.reshape(matrix_shape))
    extra = sum(part.numel() for part in signs.values())
    spread, sizes = distributed_sparsity(entries), compare_sizes(entries, sketch_size(entries))
    facts |= {
        "n_nonzero": entries.count if signs else entries.count - facts["n_negative_zeros"],
        "j_r": spread.j_r,
        "j_c": spread.j_c,
        "bytes_bitmask": sizes.bitmask + extra,
        "bytes_entropy": sizes.entropy + extra,
    }
    chosen = _search(name, entries, asked, content.size - extra, seed)
    if chosen.size is not None and chosen.measured is not None:
        size = chosen.size
        parts = signs | _parts(name, chosen.measured, TagLayout.of(matrix_shape).size)
        record |= {
            "m": [size.m1, size.m2],
            "delta": [size.delta1, size.delta2],
            "seed": chosen.seed,
        }
        facts |= {
            "stored": "sketch",
            "m": (size.m1, size.m2),
            "bytes": sum(part.numel() * part.dtype.itemsize for part in parts.values()),
        }
    facts["attempts"] = chosen.attempts
    return parts, record, TensorReport(**facts, reason=chosen.reason)


def _search(name: str, entries: Entries, asked: bool | None, room: int, seed: int) -> _Chosen:
    """Draw sketches, each a little larger, until one decodes; unless asked, within `room` bytes."""
    if asked is False:
        return _Chosen(None, None, 0, 0, "not asked for")
    width = entries.values.dtype.itemsize + TagLayout.of(entries.shape).size
    for attempt in range(1, ATTEMPTS + 1):
        growth = 1.1 ** (attempt - 1)
        size = sketch_size(entries, factor=TAGGED_FACTOR * growth, line_factor=LINE_FACTOR * growth)
        if not asked and size.measurements * width >= room:
            return _Chosen(None, None, 0, attempt - 1, TOO_LARGE)
        its_seed = child_seed(seed, "sketch", name, attempt)
        measured = _verified(entries, size, its_seed)
        if measured is not None:
            return _Chosen(size, measured, its_seed, attempt, "")
    reason = f"no sketch decoded in {ATTEMPTS} draws"
    if asked:
        raise InputError(f"tensor {name!r}: {reason}; leave it out.")
    return _Chosen(None, None, 0, ATTEMPTS, reason)


def _decode(
    path: Path, name: str, record: Mapping[str, Any], stored: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """One tensor as it was."""
    where = f"tensor {name!r} of {path}"
    dtype: torch.dtype = getattr(torch, record["dtype"])
    if "m" not in record:
        tensor = stored[PLAIN + name]
    else:
        shape = _matrix_shape(tuple(record["shape"]))
        if shape is None:
            raise ValueError(f"{where} has the shape {record['shape']}")
        size = SketchSize(*record["m"], *record["delta"])
        width = TagLayout.of(shape).size
        values = stored[VALUES + name].numpy().view(UNSIGNED[dtype.itemsize])
        if values.size != size.measurements:
            raise ValueError(f"{where} has {values.size} measurements, not {size.measurements}")
        left, right = _ensembles(shape, size, record["seed"])
        tags = np.zeros((size.measurements, 8), dtype=np.uint8)
        tags[:, :width] = stored[TAGS + name].numpy().reshape(size.measurements, width)
        measured = TaggedSketch(
            values.reshape(size.m1, size.m2), tags.view("<u8").reshape(size.m1, size.m2)
        )
        decoded = decode_tagged(measured, left, right)
        if decoded.verdict != Verdict.RECOVERED:
            raise DataIntegrityError(
                f"{where} does not decode ({decoded.verdict}): the file was altered; "
                "encode the checkpoint again."
            )
        bits = decoded.entries.dense().ravel()
        if SIGNS + name in stored:
            negative = np.unpackbits(stored[SIGNS + name].numpy())[: bits.size].astype(np.bool_)
            bits[negative] = _sign_bit(dtype.itemsize)
        tensor = torch.from_numpy(bits.view(np.uint8)).view(dtype).reshape(record["shape"])
    if tensor.dtype != dtype or _digest(_bytes(tensor).tobytes()) != record["digest"]:
        raise DataIntegrityError(
            f"{where} differs from its digest: the file was altered; encode the checkpoint again."
        )
    return tensor


def _verified(entries: Entries, size: SketchSize, seed: int) -> TaggedSketch | None:
    """A sketch that decodes to the same entries, or None."""
    left, right = _ensembles(entries.shape, size, seed)
    measured = tagged_sketch(entries, left, right)
    decoded = decode_tagged(measured, left, right)
    same = decoded.verdict == Verdict.RECOVERED and all(
        np.array_equal(getattr(decoded.entries, part), getattr(entries, part))
        for part in ("rows", "cols", "values")
    )
    return measured if same else None


def _ensembles(shape: tuple[int, int], size: SketchSize, seed: int) -> tuple[Ensemble, Ensemble]:
    """A and B of a seed; the bit generator is named, so that it never changes."""

    def one(n: int, m: int, delta: int, side: str) -> Ensemble:
        if delta == 1 and m == n:
            return identity(n)
        bits = np.random.PCG64(child_seed(seed, side))
        return delta_random(n, m, delta, np.random.Generator(bits))

    return (
        one(shape[0], size.m1, size.delta1, "left"),
        one(shape[1], size.m2, size.delta2, "right"),
    )


def _parts(name: str, measured: TaggedSketch, width: int) -> dict[str, torch.Tensor]:
    """The two channels as torch tensors; a tag as its lowest bytes, little-endian."""
    values = np.ascontiguousarray(measured.values)
    tags = np.ascontiguousarray(measured.tags.astype("<u8")).view(np.uint8).reshape(-1, 8)
    return {
        VALUES + name: torch.from_numpy(values.view(SIGNED[values.dtype.itemsize])),
        TAGS + name: torch.from_numpy(np.ascontiguousarray(tags[:, :width])),
    }


def _sign_bit(width: int) -> Any:
    """-0 of most floating-point types; a rare value, or NaN, in the others, which harms nothing."""
    return UNSIGNED[width](1 << (8 * width - 1))


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """First axis by the rest; vectors and numbers as one row; None if there are no entries."""
    total = math.prod(shape)
    if total == 0:
        return None
    return (1, total) if len(shape) < 2 else (shape[0], total // shape[0])


def _bytes(tensor: torch.Tensor) -> Bytes:
    """The bytes of a tensor in C order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if not flat.numel():
        return np.empty(0, dtype=np.uint8)
    return flat.view(torch.uint8).numpy()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
