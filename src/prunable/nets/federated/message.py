"""What a client sends: one string of bytes for a pruned update, decoded bit for bit.

Layout, all numbers little-endian: the magic `PFLU`; version (1 byte); bytes of a value, 2 or 4
(1 byte); examples the client trained on (8); length of the header (4); the header, JSON, a list
of `[name, shape, form, count, position bytes]`; for each tensor its positions, then its values;
the CRC-32 of everything before it (4).

| form | positions | values |
|---|---|---|
| dense | none | all, C order |
| bitmask | a bit an entry, the first in the highest bit of its byte | `count` entries |
| gaps | LEB128 of the distance to the entry before, less one | `count` entries |
| nodes | the same for the kept rows of axis 0 | `count` whole rows |
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError, check_one_of, require
from prunable.files import MOST_TEXT, check_declared, parse_json

Form = Literal["dense", "bitmask", "gaps", "nodes"]
Precision = Literal["float32", "float16"]

MAGIC = b"PFLU"
VERSION = 1
_PREFIX = struct.Struct("<4sBBQI")
_CHECKSUM = struct.Struct("<I")
_WIDTHS: dict[Precision, int] = {"float32": 4, "float16": 2}
_MOST = 2**31  # entries of one tensor
_AGAIN = "Let the client send it again."


@dataclass(frozen=True, eq=False)
class Message:
    """A decoded message: float32 tensors, 0 where nothing was sent, and how each travelled."""

    tensors: dict[str, torch.Tensor]
    n_examples: int
    forms: dict[str, Form]


@dataclass(frozen=True, eq=False)
class _Part:
    """One tensor as it travels."""

    form: Form
    count: int
    positions: bytes
    values: bytes

    @property
    def size(self) -> int:
        return len(self.positions) + len(self.values)


def encode(
    tensors: Mapping[str, torch.Tensor],
    *,
    n_examples: int,
    form: Form | Literal["auto"] = "auto",
    precision: Precision = "float32",
) -> bytes:
    """Serialise an update or a model; `decode` gives the rounded values back bit for bit.

    Raises InputError if a tensor is not of floating point, holds NaN or infinity, or exceeds the
    range of the precision, or an argument is out of range.

    Parameters
    ----------
    tensors : finite; entries that are 0 (or -0) after rounding are not sent, except in the dense.
        form and in kept rows
    """
    check_one_of(precision, _WIDTHS, "precision", "encode")
    if form != "auto" and form not in get_args(Form):
        raise InputError.parameter("form", "encode", f"auto or one of {get_args(Form)}", form)
    require(0 <= n_examples < 2**63, "n_examples", "encode", "in [0, 2**63)", n_examples)
    header: list[list[Any]] = []
    payload: list[bytes] = []
    for name, tensor in tensors.items():
        rounded = _rounded(name, tensor, precision)
        forms = get_args(Form) if form == "auto" else (form,)
        part = min((_part(rounded, chosen) for chosen in forms), key=lambda part: part.size)
        header.append([name, list(tensor.shape), part.form, part.count, len(part.positions)])
        payload += [part.positions, part.values]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    prefix = _PREFIX.pack(MAGIC, VERSION, _WIDTHS[precision], n_examples, len(text))
    body = b"".join([prefix, text, *payload])
    return body + _CHECKSUM.pack(zlib.crc32(body))


def decode(message: bytes, *, like: Mapping[str, torch.Tensor] | None = None) -> Message:
    """Read a message of `encode`; with `like`, of a model of the same names and shapes.

    Raises DataIntegrityError if it is truncated, altered, of another version or of another model,
    or, without `like`, holds more than 2^24 entries and 1024 for each of its bytes.
    """
    if len(message) < _PREFIX.size + _CHECKSUM.size:
        raise _damaged(f"it has {len(message)} bytes, fewer than an empty message")
    magic, version, width, n_examples, header_size = _PREFIX.unpack_from(message)
    if magic != MAGIC:
        raise _damaged(f"it begins with {magic!r} instead of {MAGIC!r}")
    if version != VERSION:
        raise _damaged(f"its version is {version}, and {VERSION} is understood here")
    whole = memoryview(message)  # parts of it take no memory of their own
    body, checksum = whole[: -_CHECKSUM.size], whole[-_CHECKSUM.size :]
    if _CHECKSUM.unpack(checksum)[0] != zlib.crc32(body):
        raise _damaged("its checksum does not match: it is truncated or altered")
    start = _PREFIX.size + header_size
    if header_size > MOST_TEXT:
        raise _damaged(f"its header has {header_size:,} bytes, more than {MOST_TEXT:,}")
    entries = _header(bytes(body[_PREFIX.size : start]))
    if like is not None:
        _compare({name: tuple(shape) for name, shape, *_ in entries}, like)
    else:
        try:
            check_declared([shape for _, shape, *_ in entries], len(message))
        except ValueError as error:
            raise _damaged(f"{error}; give `like`") from error
    if width not in _WIDTHS.values():
        raise _damaged(f"its values have {width} bytes instead of 2 or 4")
    dtype = np.dtype(f"<f{width}")
    tensors, forms = {}, {}
    for name, shape, form, count, position_bytes in entries:
        positions = bytes(body[start : start + position_bytes])
        sent = count * (_row_size(shape) if form == "nodes" else 1)
        start += position_bytes
        values = body[start : start + sent * width]
        start += sent * width
        if len(positions) < position_bytes or len(values) < sent * width:
            raise _damaged(f"it ends within {name!r}")
        flat = _placed(name, shape, form, count, positions, np.frombuffer(values, dtype))
        tensors[name] = torch.from_numpy(flat.astype(np.float32).reshape(shape))
        forms[name] = form
    if start != len(body):
        raise _damaged(f"{len(body) - start} bytes follow its last tensor")
    return Message(tensors, n_examples, forms)


def _rounded(name: str, tensor: torch.Tensor, precision: Precision) -> NDArray[np.floating[Any]]:
    """The values to send, shape (rows, entries of a row)."""
    require(tensor.is_floating_point(), name, "encode", "a floating-point tensor", tensor.dtype)
    array = tensor.detach().cpu().to(torch.float32).contiguous().numpy()
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError.parameter(
            name, "encode", "finite", f"{bad} NaN or infinite values", "The training has diverged."
        )
    with np.errstate(over="ignore"):
        rounded = array.astype(np.dtype(precision).newbyteorder("<"))
    if not np.isfinite(rounded).all():
        raise InputError.parameter(
            name,
            "encode",
            f"within the range of {precision}",
            float(np.abs(array).max()),
            "Send it as float32.",
        )
    rounded += 0  # turns -0, which a mask or underflow leaves behind, into 0
    return rounded.reshape(array.shape[0] if array.ndim else 1, _row_size(array.shape))


def _part(array: NDArray[np.floating[Any]], form: Form) -> _Part:
    flat = array.ravel()
    if form == "dense":
        return _Part(form, flat.size, b"", flat.tobytes())
    used = flat != 0
    if form == "nodes":
        rows = used.reshape(array.shape).any(axis=1)
        kept = np.flatnonzero(rows)
        return _Part(form, kept.size, _write_gaps(kept), array[rows].tobytes())
    values = flat[used]
    positions = (
        np.packbits(used).tobytes() if form == "bitmask" else _write_gaps(np.flatnonzero(used))
    )
    return _Part(form, values.size, positions, values.tobytes())


def _placed(
    name: str,
    shape: tuple[int, ...],
    form: Form,
    count: int,
    positions: bytes,
    values: NDArray[np.floating[Any]],
) -> NDArray[np.floating[Any]]:
    """All entries of a tensor, flat."""
    total = math.prod(shape)
    if form == "dense":
        if count != total or positions:
            raise _damaged(f"{name!r} of shape {shape} has {count} values")
        return values
    if form == "bitmask" and len(positions) != -(-total // 8):
        raise _damaged(f"the bitmask of {name!r} has {len(positions)} bytes")
    full = np.zeros(total, dtype=values.dtype)
    if form == "bitmask":
        used = np.unpackbits(np.frombuffer(positions, np.uint8))
        if used[total:].any() or np.count_nonzero(used) != count:
            raise _damaged(f"the bitmask of {name!r} does not mark {count} entries")
        full[used[:total].astype(np.bool_)] = values
        return full
    places = _read_gaps(name, positions, count)
    rows = (shape[0] if shape else 1) if form == "nodes" else total
    if count and places[-1] >= rows:
        raise _damaged(f"{name!r} has no place {places[-1]}")
    row = total // rows if rows else 0
    full.reshape(rows, row)[places] = values.reshape(count, row)
    return full


def _write_gaps(places: NDArray[np.int64]) -> bytes:
    """LEB128: seven bits a byte from the lowest on, the highest bit set unless it is the last."""
    gaps = np.diff(places, prepend=-1) - 1
    lengths = np.ones(gaps.size, dtype=np.int64)
    for power in range(7, 63, 7):
        lengths += gaps >= 1 << power
    stream = np.empty(int(lengths.sum()), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths
    for byte in range(int(lengths.max(initial=0))):
        has = lengths > byte
        low = (gaps[has] >> (7 * byte)) & 0x7F
        stream[starts[has] + byte] = low | np.where(lengths[has] > byte + 1, 0x80, 0)
    return stream.tobytes()


def _read_gaps(name: str, stream: bytes, count: int) -> NDArray[np.int64]:
    data = np.frombuffer(stream, np.uint8)
    last = np.flatnonzero(data < 0x80)
    lengths = np.diff(last, prepend=-1)
    whole = data.size == 0 or data[-1] < 0x80
    if last.size != count or not whole or lengths.max(initial=0) > 6:
        raise _damaged(f"the positions of {name!r} are not {count} distances")
    starts = last - lengths + 1
    gaps = np.zeros(count, dtype=np.int64)
    for byte in range(int(lengths.max(initial=0))):
        has = lengths > byte
        gaps[has] |= (data[starts[has] + byte].astype(np.int64) & 0x7F) << (7 * byte)
    return np.cumsum(gaps + 1) - 1


def _header(text: bytes) -> list[tuple[str, tuple[int, ...], Form, int, int]]:
    try:
        entries = [
            (str(name), tuple(shape), form, count, size)
            for name, shape, form, count, size in parse_json(text)
        ]
    except (ValueError, TypeError) as error:
        raise _damaged(f"its header is not readable ({error})") from error
    for name, shape, form, *sizes in entries:
        if (
            form not in get_args(Form)
            or not all(type(size) is int and 0 <= size < _MOST for size in (*shape, *sizes))
            or math.prod(shape) >= _MOST
        ):
            raise _damaged(
                f"its header describes {name!r} as {form!r:.60} of {shape!s:.60}, {sizes!s:.60}"
            )
    if len({name for name, *_ in entries}) != len(entries):
        raise _damaged("its header names a tensor twice")
    return entries


def _compare(shapes: Mapping[str, tuple[int, ...]], like: Mapping[str, torch.Tensor]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in like.items()}
    for name in expected.keys() | shapes.keys():
        if shapes.get(name) != expected.get(name):
            raise DataIntegrityError(
                f"the message is of another model: {name!r} has shape {shapes.get(name)} in it and "
                f"{expected.get(name)} here. Train the same architecture on both sides."
            )


def _row_size(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


def _damaged(what: str) -> DataIntegrityError:
    return DataIntegrityError(f"the message is damaged: {what}. {_AGAIN}")
