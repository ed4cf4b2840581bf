"""Readers of true file formats: bytes of one file in, arrays out, nothing unpickled freely."""

import gzip
import io
import pickle
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from prunable.errors import DataIntegrityError

Arrays = tuple[NDArray[Any], NDArray[np.int64]]

_CIFAR_SHAPE = (3, 32, 32)
_ARRAY_GLOBALS = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # how protocol 2 spells bytes
    }
)


def damaged(path: Path, what: str) -> DataIntegrityError:
    """The error of a file that is not what it should be."""
    return DataIntegrityError(f"{path} {what}. Delete it and fetch the data set again.")


def unpacked(path: Path) -> bytes:
    """Content of a file, decompressed if its name ends in .gz."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, f"is not a whole gzip file ({error})") from error
    except OSError as error:
        raise DataIntegrityError(f"{path} cannot be read ({error.strerror}).") from error


def read_ucr(path: Path) -> Arrays:
    """Read a UCR table: label first, then the series, separated by tabs.

    Gives series of shape (n, length), float32, and integer labels as written.
    """
    try:
        table = np.loadtxt(io.BytesIO(unpacked(path)), dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise damaged(path, f"is not a table of numbers ({error})") from error
    rows = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if rows.size:
        raise damaged(path, f"holds NaN or infinite values, first in row {rows[0] + 1}")
    if table.shape[1] < 2:
        raise damaged(path, "holds no series")
    return table[:, 1:].astype(np.float32), table[:, 0].astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzipped, in the shape its header says."""
    content = unpacked(path)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise damaged(path, "is not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise damaged(path, "ends within its header")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    expected = start + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise damaged(path, f"has {len(content)} bytes where its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_pair(images: Path, labels: Path) -> Arrays:
    """Read pictures and their labels, and check that there are as many of both."""
    pictures, classes = read_idx(images), read_idx(labels)
    if pictures.ndim != 3 or classes.shape != pictures.shape[:1]:
        raise damaged(images, f"has shape {pictures.shape} beside labels of {classes.shape}")
    return pictures, classes.astype(np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; refuses every other object."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAY_GLOBALS:
            raise pickle.UnpicklingError(f"refuses the object {module}.{name}")
        return super().find_class(module, name)


# A hostile or truncated pickle can fail in nearly any way before an object is made.
_PICKLE_ERRORS = (
    *(pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError),
    *(TypeError, AttributeError, ImportError),
)


def unpickle_arrays(content: bytes, path: Path) -> Any:
    """Unpickle what holds nothing but arrays, numbers, strings and containers of them.

    DataIntegrityError if it is truncated or names any other object; nothing of that is executed.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _PICKLE_ERRORS as error:
        raise damaged(path, f"is not a pickle of plain arrays ({error})") from error


def read_cifar_batch(path: Path) -> Arrays:
    """Read one python batch of CIFAR-10: pictures (n, 3, 32, 32), uint8, and labels."""
    batch = unpickle_arrays(unpacked(path), path)
    try:
        pictures, labels = np.asarray(batch["data"]), np.asarray(batch["labels"], dtype=np.int64)
        if pictures.dtype != np.uint8 or pictures.shape != (len(labels), 3072):
            raise damaged(path, f"holds {pictures.dtype} of {pictures.shape}")
        return pictures.reshape(-1, *_CIFAR_SHAPE), labels
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"is not a CIFAR-10 batch ({error!r})") from error


def read_hub_parquet(path: Path) -> Arrays:
    """Read pictures in the hub's Parquet layout: a struct of encoded bytes, and a label.

    Gives pictures (n, 3, 32, 32), uint8, and labels.
    """
    try:
        with path.open("rb") as stream:  # pyarrow opens no path that is no text
            table = pq.read_table(stream)
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, f"is not a whole Parquet file ({error})") from error
    picture_columns = [name for name in ("img", "image") if name in table.column_names]
    if not picture_columns or "label" not in table.column_names:
        raise damaged(path, f"has the columns {table.column_names}, not img and label")
    encoded = table.column(picture_columns[0]).to_pylist()
    pictures = np.empty((len(encoded), *_CIFAR_SHAPE), np.uint8)
    for row, cell in enumerate(encoded):
        try:
            with Image.open(io.BytesIO(cell["bytes"])) as picture:
                pictures[row] = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
        except (UnidentifiedImageError, OSError, ValueError, TypeError) as error:
            raise damaged(path, f"holds no 32x32 picture in row {row} ({error})") from error
    return pictures, table.column("label").to_numpy().astype(np.int64)


def read_digits() -> Arrays:
    """Read the 8x8 digits, values 0 to 16, out of scikit-learn's own package."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataIntegrityError(
            "the data set digits is part of scikit-learn, which is not installed. "
            "Run `pip install scikit-learn`."
        ) from error
    digits = load_digits()
    return digits.images, digits.target.astype(np.int64)


def idx_from_mnist_pickle(content: bytes, path: Path) -> Mapping[str, bytes]:
    """Make the four IDX files of MNIST, by name, out of the pickled float version.

    The gzipped pickle holds (train, validation, test), each (pixels / 256, labels); the first
    60,000 rows are train and validation joined. `path` says where it comes from, for messages.
    """
    parts = unpickle_arrays(gzip.decompress(content), path)
    (x1, y1), (x2, y2), test = parts
    train = np.concatenate([x1, x2]), np.concatenate([y1, y2])

    def idx(array: NDArray[np.uint8]) -> bytes:
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        return header + array.tobytes()

    files = {}
    for prefix, (x, y) in (("train", train), ("t10k", test)):
        pixels = np.rint(np.asarray(x) * 256).astype(np.uint8).reshape(-1, 28, 28)
        files[f"{prefix}-images-idx3-ubyte"] = idx(pixels)
        files[f"{prefix}-labels-idx1-ubyte"] = idx(np.asarray(y).astype(np.uint8))
    return files


SplitReader = Callable[[Mapping[str, Path]], tuple[Arrays, Arrays]]


def _pair(read: Callable[[Path], Arrays]) -> SplitReader:
    """Reader of a file for each part."""

    def read_both(paths: Mapping[str, Path]) -> tuple[Arrays, Arrays]:
        train, test = (read(path) for path in paths.values())
        return train, test

    return read_both


def _idx(paths: Mapping[str, Path]) -> tuple[Arrays, Arrays]:
    files = list(paths.values())
    return read_idx_pair(*files[:2]), read_idx_pair(*files[2:])


def _cifar_batches(paths: Mapping[str, Path]) -> tuple[Arrays, Arrays]:
    *train, test = [read_cifar_batch(path) for path in paths.values()]
    pictures, labels = zip(*train, strict=True)
    return (np.concatenate(pictures), np.concatenate(labels)), test


# Paths come in the order of the registered files: training ones first.
READERS: dict[str, SplitReader] = {
    "ucr": _pair(read_ucr),
    "idx": _idx,
    "cifar-batches": _cifar_batches,
    "hub-parquet": _pair(read_hub_parquet),
}
