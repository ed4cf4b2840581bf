"""Data sets as arrays, split as asked, checked and read-only."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prunable.data.readers import READERS, Arrays, damaged, read_digits
from prunable.data.registry import JPEG_COPIES, DataSet, registered
from prunable.data.store import Located, digest_of, fetch, locate, missing, verify
from prunable.errors import check_one_of
from prunable.numerics.randomness import rng


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set ready for use; its arrays are read-only.

    Inputs have shape (n, features), or (n, channels, height, width) unflattened; classes are
    numbered from 0, in the order of `class_names`.
    """

    name: str
    label: str
    x_train: NDArray[np.floating[Any]]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.floating[Any]]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]
    split: str
    split_seed: int  # without meaning for the official split
    provenance: str
    licence: str


def load(
    name: str,
    *,
    split: str | None = None,
    split_seed: int = 0,
    flatten: bool = True,
    dtype: DTypeLike = np.float32,
    download: bool = True,
) -> Dataset:
    """Load a registered data set.

    Parameters
    ----------
    split : {"shuffled", "official"}, optional. "shuffled" pools all examples and draws the training
        ones anew; "official" is the published division. None is the set's default: shuffled for
        ECG5000 (as in Wan, Zaidi and Simsekli 2023) and digits, official for the others.
    flatten : Whether pictures become vectors.
    dtype : Floating type of the inputs. Pixels are scaled to [0, 1]; series stay as shipped.
    download : Whether a set that is not on this machine is fetched.
    """
    dataset = registered(name)
    chosen = split if split is not None else dataset.default_split
    check_one_of(chosen, dataset.splits, "split", f"load {name}")
    located = None if name == "digits" else _located(dataset, download)
    train, test = _read(dataset, located)
    if chosen == "shuffled":
        train, test = _shuffled(dataset, train, test, split_seed)
    (x_train, y_train), (x_test, y_test) = (
        _prepared(part, flatten=flatten, dtype=dtype) for part in (train, test)
    )
    return Dataset(
        name=name,
        label=_label(dataset, located),
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=dataset.class_names,
        split=chosen,
        split_seed=split_seed,
        provenance=dataset.provenance,
        licence=dataset.licence,
    )


def _located(dataset: DataSet, download: bool) -> Located:
    if download:
        return fetch(dataset.name)
    located = locate(dataset.name)
    if located is None:
        raise missing(dataset)
    verify(located)
    return located


def _read(dataset: DataSet, located: Located | None) -> tuple[Arrays, Arrays]:
    """Read both parts as published, labels from 0; digits come as one part and an empty one."""
    if located is None:
        x, y = read_digits()
        return (x / 16, y), (x[:0], y[:0])
    train, test = READERS[located.form.format](located.paths)
    for file, (x, y), count in zip(
        (located.form.files[0], located.form.files[-1]),
        (train, test),
        (dataset.n_train, dataset.n_test),
        strict=True,
    ):
        first = 1 if located.form.format == "ucr" else 0
        y -= first
        if len(x) != count or y.min() < 0 or y.max() >= len(dataset.class_names):
            raise damaged(
                located.paths[file.name],
                f"gives {len(x)} examples with labels {y.min()} to {y.max()}, where {count} "
                f"of {len(dataset.class_names)} classes belong",
            )
    return train, test


def _shuffled(
    dataset: DataSet, train: Arrays, test: Arrays, split_seed: int
) -> tuple[Arrays, Arrays]:
    x, y = (np.concatenate(pair) for pair in zip(train, test, strict=True))
    order = rng(split_seed, "split", dataset.name).permutation(len(y))
    chosen, rest = order[: dataset.n_train], order[dataset.n_train :]
    return (x[chosen], y[chosen]), (x[rest], y[rest])


def _prepared(
    part: Arrays, *, flatten: bool, dtype: DTypeLike
) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
    x, y = part
    floats = x.astype(dtype)
    if x.dtype == np.uint8:
        floats /= 255
    if flatten:
        floats = floats.reshape(len(floats), -1)
    elif floats.ndim == 3:
        floats = floats[:, np.newaxis]
    labels = np.ascontiguousarray(y)
    for array in (floats, labels):
        array.flags.writeable = False
    return floats, labels


def _label(dataset: DataSet, located: Located | None) -> str:
    """Name for people; says where the pictures are known to be copies with losses."""
    if located is not None and located.form.format == "hub-parquet":
        digests = {digest_of(path, "sha256") for path in located.paths.values()}
        if digests & JPEG_COPIES:
            return f"{dataset.label} (JPEG copy)"
    return dataset.label
