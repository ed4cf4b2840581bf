"""Numbers of 16 bits and less as the bit patterns they are stored in, never widened as a whole."""

from __future__ import annotations

import mmap
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.numerics.measure.entries import Coded

# Types whose patterns are told apart by a table, and their widths in bytes.
WIDTHS = {"float16": 2, "bfloat16": 2} | {
    f"float8_{layout}": 1 for layout in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz")
}


@lru_cache
def table_of(dtype: str) -> NDArray[np.float32]:
    """The number that each bit pattern of a stored type means; read-only."""
    kind = torch.int16 if WIDTHS[dtype] == 2 else torch.int8
    patterns = torch.arange(256 ** WIDTHS[dtype]).to(kind).view(getattr(torch, dtype))
    table: NDArray[np.float32] = patterns.float().numpy()
    table.flags.writeable = False
    return table


def coded(codes: NDArray[np.unsignedinteger], dtype: str, **more: Any) -> Coded:
    """Bit patterns of a stored type; `more` are fields of `Coded`."""
    return Coded(codes, table_of(dtype), dtype == "bfloat16", **more)


def codes_of(tensor: torch.Tensor) -> Coded | None:
    """The bit patterns of a dense tensor on the CPU, shared with it; None of wider types."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.device.type == "cpu" and tensor.is_contiguous() and not tensor.is_neg()
    if dtype not in WIDTHS or not plain or tensor.numel() == 0:
        return None
    kind, name = (torch.int16, np.uint16) if WIDTHS[dtype] == 2 else (torch.uint8, np.uint8)
    return coded(tensor.detach().view(kind).numpy().view(name), dtype)


def mapped_codes(path: Path, start: int, shape: tuple[int, ...], dtype: str) -> Coded:
    """The bit patterns at a place of a file, mapped; pages that were read can be given back."""
    kind = np.dtype(np.uint16 if WIDTHS[dtype] == 2 else np.uint8)
    count = int(np.prod(shape, dtype=np.int64))
    before = start % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        size = before + count * kind.itemsize
        area = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=start - before)
    codes = np.frombuffer(area, kind, count, before).reshape(shape)
    return coded(codes, dtype, release=partial(_forget, area))


def _forget(area: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_DONTNEED"):
        area.madvise(mmap.MADV_DONTNEED)
