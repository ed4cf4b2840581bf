"""Examples as a certificate speaks of them, and as its verifier reads them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.data.loaders import Dataset
from prunable.data.store import fetch
from prunable.errors import DataIntegrityError, InputError, require
from prunable.runs.data import DataSpec


@dataclass(frozen=True, eq=False)
class Examples:
    """Finite inputs (n, channels, height, width), and as many labels; at least one."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.y) or len(self.x) != len(self.y) or self.x.ndim != 4:
            wanted, found = "at least 1 picture, and as many labels", (self.x.shape, self.y.shape)
            mend = "An empty set certifies nothing."
            raise InputError.parameter("x", "Examples", wanted, found, mend)
        require(np.isfinite(self.x).all(), "x", "Examples", "finite", "NaN or infinite inputs")

    @property
    def sha256(self) -> str:
        """Digest of inputs (float32) and labels (int64), little-endian."""
        digest = hashlib.sha256(np.ascontiguousarray(self.x, "<f4").tobytes())
        digest.update(np.ascontiguousarray(self.y, "<i8").tobytes())
        return digest.hexdigest()

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels as tensors."""
        return torch.from_numpy(np.array(self.x)), torch.from_numpy(np.array(self.y))


def examples_of(data: Dataset, label_seed: int | None = None) -> tuple[Examples, Examples]:
    """Training and test examples of a set loaded with ``flatten=False``.

    With a seed of `numpy.random.default_rng`, labels are drawn anew, uniformly; those of the
    test set after those of the training set. Vectors and series become rows of one picture.
    """
    parts = [(data.x_train, data.y_train), (data.x_test, data.y_test)]
    if label_seed is not None:
        generator, classes = np.random.default_rng(label_seed), len(data.class_names)
        parts = [(x, generator.integers(classes, size=len(y))) for x, y in parts]
    train, test = (
        Examples((x if x.ndim == 4 else x.reshape(len(x), 1, 1, -1)).astype(np.float32), y)
        for x, y in parts
    )
    return train, test


def verifiable_data(document: dict[str, Any], scratch: Path | str) -> Path:
    """What the verifier of a certificate reads: a folder of IDX files, or an .npz.

    The .npz is written into `scratch` where the set has no raw files or its labels are random.

    Raises DataIntegrityError if the certificate does not name its data, or the set is not on this
    machine.
    """
    try:
        notes = document["notes"]
        plain, seed = DataSpec.create(name=notes["dataset"]), notes["random_labels"]
        data = DataSpec.create(**notes.get("settings", {}).get("data", {"name": plain.name}))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataIntegrityError(f"the certificate does not name its data ({error!r}).") from error
    located = fetch(data.name)
    if seed is None and data == plain and located.form.format == "idx":
        return located.folder
    train, test = examples_of(data.load(flatten=False), seed)
    path = Path(scratch) / "data.npz"
    np.savez(path, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    return path
