"""Examples as a certificate speaks of them, and as its verifier reads them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.data.loaders import Dataset
from prunable.errors import InputError, require
from prunable.verify_certificate import PUBLIC

PARTS = ("train", "test", "network")  # of the third the labels are a network's answers


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
        """Identity: digest of types, shapes, inputs and labels, in their order."""
        digest = hashlib.sha256()
        for axis, array in self.arrays.items():
            sides = " ".join(map(str, array.shape))
            digest.update(f"{axis} {array.dtype.str} {sides}\n".encode())
            digest.update(array.data)
        return digest.hexdigest()

    @property
    def arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """Inputs and labels as the verifier reads them, little-endian."""
        x, y = np.ascontiguousarray(self.x, "<f4"), np.ascontiguousarray(self.y, "<i8")
        return {"x": x, "y": y}

    def name(self, part: str) -> str:
        """What the verifier calls them: a part of a public set, such as "mnist train", or "own"."""
        found = PUBLIC.get("" if part == "network" else self.sha256, f"own {part}")
        require(found.endswith(part), part, "certify", f"{part} examples", f"those of {found}")
        return found

    def save(self, folder: Path | str, part: str) -> None:
        """Write them where the verifier reads them."""
        for axis, array in self.arrays.items():
            np.save(Path(folder) / f"{axis}_{part}.npy", array)

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
