"""Checkpoints whose sparse tensors are stored as sketches: an exact round trip, bit for bit."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError
from prunable.files import IN_A_BYTE, Document, Shape, Size, check_declared, damage_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.numerics.randomness import child_seed
from prunable.results import Result
from prunable.sketch.recovery.channels import TaggedSketch, TagLayout, decode_tagged, tagged_sketch
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Ending, Entries
from prunable.sketch.recovery.sizes import (
    LINE_FACTOR,
    TAGGED_FACTOR,
    SketchSize,
    compare_sizes,
    sketch_size,
)

FORMAT = "sketch-1"
PLAIN, VALUES, TAGS, SIGNS = "plain::", "values::", "tags::", "signs::"
ATTEMPTS = 6  # each larger by a tenth in both factors than the one before
# unsigned and signed types of the widths that are sketched; torch stores the signed ones
UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED: dict[int, Any] = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
# -0 in more than one of so many entries is stored as a bit an entry, beside the sketch
RARE = 200
MOST_ONES = 16  # in a column of A and B; what is written has 3
TOO_LARGE = "a sketch would be larger"

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class TensorReport(Result):
    """How one tensor was stored, and what else it could have been.

    It is stored as "sketch", or "plain" for a `reason`. `j_r` and `j_c` are the entries in the
    fullest row and column of the tensor as a matrix (first axis, rest); None of tensors too dense
    to sketch. Bytes are of what is stored; as it is; a bit a position and the rest; by the entropy
    of positions and values (None like `j_r`).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: str = "plain"
    reason: str = ""
    n: int
    n_nonzero: int  # entries that are not 0 or -0
    n_negative_zeros: int = 0
    j_r: int | None = None
    j_c: int | None = None
    m: tuple[int, int] | None = None
    attempts: int = 0  # draws of A and B until the sketch decoded; 0 if it was not tried
    bytes: int
    bytes_dense: float
    bytes_bitmask: float
    bytes_entropy: float | None = None


def save_sketches(
    path: Path | str,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    asked: Callable[[str], bool] | None = None,
    seed: int = 0,
) -> list[TensorReport]:
    """Write a checkpoint with its sparse tensors sketched, atomically.

    Every sketch is decoded before it is written: what does not decode to the same bits is
    sketched anew, larger, or stored as it is. `metadata` is the text of the original's header,
    restored with it. `asked` says of a name whether its tensor is sketched, however large that is;
    others are stored as they are. Without it, tensors are sketched where that is smaller.

    Raises InputError if the file cannot be written, or an asked tensor cannot be sketched.
    """
    stored: Tensors = {}
    records: dict[str, Any] = {}
    reports = []
    for name, tensor in tensors.items():
        parts, record, report = _encode(name, tensor, None if asked is None else asked(name), seed)
        stored |= parts
        records[name] = record
        reports.append(report)
    text = json.dumps({"metadata": dict(metadata or {}), "tensors": records}, ensure_ascii=False)
    save_tensors(path, stored, {"format": FORMAT, "sketch": text, "digest": _digest(text.encode())})
    return reports


def load_sketches(path: Path | str) -> tuple[Tensors, dict[str, str]]:
    """Read a file of `save_sketches`: tensors, bit for bit, and the original's metadata.

    Raises DataIntegrityError, naming the tensor, if the file is missing, truncated, of another
    format, or altered.
    """
    stored, header = load_tensors(path)
    text = header.get("sketch", "")
    if header.get("format") != FORMAT:
        raise DataIntegrityError(
            f"{path} is no file of sketches; give one written by `prunable sketch encode`."
        )
    if _digest(text.encode()) != header.get("digest"):
        raise DataIntegrityError(f"the header of {path} was altered; encode the checkpoint again.")
    mend = "it is no whole file of sketches: encode the checkpoint again"
    with damage_named(path, mend, DataIntegrityError):
        found = parsed(_SketchDocument, text)
        sketched = [record.shape for record in found.tensors.values() if record.m is not None]
        check_declared(sketched, Path(path).stat().st_size)
        tensors = {
            name: _decode(f"tensor {name!r} of {path}", name, record, stored)
            for name, record in found.tensors.items()
        }
    return tensors, found.metadata


class _Record(Document):
    """How one tensor is stored; without `m` as it is."""

    shape: Shape
    dtype: str
    digest: str
    m: tuple[Size, Size] | None = None
    delta: tuple[Size, Size] | None = None
    seed: int = 0


class _SketchDocument(Document):
    metadata: dict[str, str]
    tensors: dict[str, _Record]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A sketch that decodes, and the seed of its A and B."""

    size: SketchSize
    seed: int
    measured: TaggedSketch


def _encode(
    name: str, tensor: torch.Tensor, asked: bool | None, seed: int
) -> tuple[Tensors, dict[str, Any], TensorReport]:
    """Parts to store, record of the header, and report of one tensor."""
    content = _bytes(tensor)
    width, shape, n = tensor.dtype.itemsize, tuple(tensor.shape), tensor.numel()
    dtype, matrix_shape = str(tensor.dtype).removeprefix("torch."), _matrix_shape(shape)
    digest = _digest(content.tobytes())
    record: dict[str, Any] = {"shape": list(shape), "dtype": dtype, "digest": digest}
    parts = {PLAIN + name: tensor}
    report = TensorReport(
        name=name,
        dtype=dtype,
        shape=shape,
        n=n,
        n_nonzero=n,
        bytes=content.size,
        bytes_dense=content.size,
        bytes_bitmask=content.size,
    )
    if width not in UNSIGNED or matrix_shape is None:
        if asked:
            raise InputError(
                f"tensor {name!r} ({dtype}, shape {shape}) cannot be sketched; leave it out."
            )
        return parts, record, replace(report, reason="empty, or of a type of another width")
    bits, signs, n_negative = content.view(UNSIGNED[width]), Tensors(), 0
    if tensor.dtype.is_floating_point:
        negative = bits == _sign_bit(width)
        n_negative = int(np.count_nonzero(negative))
        if n_negative * RARE > n:
            bits = np.where(negative, UNSIGNED[width](0), bits)
            signs[SIGNS + name] = torch.from_numpy(np.packbits(negative))
    count = int(np.count_nonzero(bits))
    report = replace(
        report,
        n_nonzero=count if signs else count - n_negative,
        n_negative_zeros=n_negative,
        bytes_bitmask=n / 8 + count * width,
    )
    if not asked and count > content.size / (TAGGED_FACTOR**2 * (width + 3)):
        # too dense even for the smallest sketch: spare the memory of its entries
        reason = "not asked for" if asked is False else TOO_LARGE
        return parts, record, replace(report, reason=reason)
    entries = Entries.of(bits.reshape(matrix_shape))
    extra = sum(part.numel() for part in signs.values())
    sizes, (j_r, j_c) = compare_sizes(entries, sketch_size(entries)), entries.fullest
    drawn, attempts, reason = _search(name, entries, asked, content.size - extra, seed)
    report = replace(
        report,
        reason=reason,
        j_r=j_r,
        j_c=j_c,
        attempts=attempts,
        bytes_bitmask=sizes.bitmask + extra,
        bytes_entropy=sizes.entropy + extra,
    )
    if drawn is not None:
        size = drawn.size
        sketched = signs | _parts(name, drawn.measured, TagLayout.of(matrix_shape).size)
        sides = {"m": [size.m1, size.m2], "delta": [size.delta1, size.delta2]}
        total = sum(part.numel() * part.dtype.itemsize for part in sketched.values())
        if n > IN_A_BYTE * total:  # which no reader of this format believes
            if asked:
                raise InputError(f"tensor {name!r} is too empty to be sketched; leave it out.")
            return parts, record, replace(report, reason="too empty")
        parts = sketched
        record |= {**sides, "seed": drawn.seed}
        report = replace(report, stored="sketch", m=(size.m1, size.m2), bytes=total)
    return parts, record, report


def _search(
    name: str, entries: Entries, asked: bool | None, room: int, seed: int
) -> tuple[_Drawn | None, int, str]:
    """Draw sketches, each a little larger, until one decodes; unless asked, within `room` bytes.

    Returns also the number of draws, and the reason where there is no sketch.
    """
    if asked is False:
        return None, 0, "not asked for"
    width = entries.values.dtype.itemsize + TagLayout.of(entries.shape).size
    for attempt in range(1, ATTEMPTS + 1):
        growth = 1.1 ** (attempt - 1)
        size = sketch_size(entries, factor=TAGGED_FACTOR * growth, line_factor=LINE_FACTOR * growth)
        if not asked and size.measurements * width >= room:
            return None, attempt - 1, TOO_LARGE
        its_seed = child_seed(seed, "sketch", name, attempt)
        left, right = _ensembles(entries.shape, size, its_seed)
        measured = tagged_sketch(entries, left, right)
        decoded = decode_tagged(measured, left, right)
        if decoded.verdict == Ending.RECOVERED and decoded.entries.equals(entries):
            return _Drawn(size, its_seed, measured), attempt, ""
    reason = f"no sketch decoded in {ATTEMPTS} draws"
    if asked:
        raise InputError(f"tensor {name!r}: {reason}; leave it out.")
    return None, ATTEMPTS, reason


def _decode(
    where: str, name: str, record: _Record, stored: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    dtype: torch.dtype = getattr(torch, record.dtype)
    if record.m is None or record.delta is None:
        tensor = stored[PLAIN + name]
    else:
        shape = _matrix_shape(record.shape)
        if shape is None or max(record.delta) > MOST_ONES:
            raise ValueError(f"{where} has the shape {record.shape} and ones {record.delta}")
        size = SketchSize(*record.m, *record.delta)
        width = TagLayout.of(shape).size
        values = stored[VALUES + name].numpy().view(UNSIGNED[dtype.itemsize])
        if values.size != size.measurements:
            raise ValueError(f"{where} has {values.size} measurements, not {size.measurements}")
        left, right = _ensembles(shape, size, record.seed)
        tags = np.zeros((size.measurements, 8), dtype=np.uint8)
        tags[:, :width] = stored[TAGS + name].numpy().reshape(size.measurements, width)
        measured = TaggedSketch(
            values.reshape(size.m1, size.m2), tags.view("<u8").reshape(size.m1, size.m2)
        )
        decoded = decode_tagged(measured, left, right)
        if decoded.verdict != Ending.RECOVERED:
            raise DataIntegrityError(
                f"{where} does not decode ({decoded.verdict}): the file was altered; "
                "encode the checkpoint again."
            )
        bits = decoded.entries.dense().ravel()
        if SIGNS + name in stored:
            negative = np.unpackbits(stored[SIGNS + name].numpy())[: bits.size].astype(np.bool_)
            bits[negative] = _sign_bit(dtype.itemsize)
        tensor = torch.from_numpy(bits.view(np.uint8)).view(dtype).reshape(record.shape)
    if tensor.dtype != dtype or _digest(_bytes(tensor).tobytes()) != record.digest:
        raise DataIntegrityError(
            f"{where} differs from its digest: the file was altered; encode the checkpoint again."
        )
    return tensor


def _ensembles(shape: tuple[int, int], size: SketchSize, seed: int) -> tuple[Ensemble, Ensemble]:
    """A and B of a seed; the bit generator is named, so that it never changes."""
    bits = (np.random.PCG64(child_seed(seed, side)) for side in ("left", "right"))
    left, right = map(np.random.Generator, bits)
    return size.ensembles(shape, left, right)


def _parts(name: str, measured: TaggedSketch, width: int) -> Tensors:
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


def _bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if not flat.numel():
        return np.empty(0, dtype=np.uint8)
    return flat.view(torch.uint8).numpy()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
