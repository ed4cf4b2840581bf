"""Scores of networks kept in a folder, so that an interrupted forecast goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunable.errors import DataIntegrityError
from prunable.files import os_errors_named, read_arrays, remove_leftovers, staged
from prunable.nets.networks.identity import Identity
from prunable.nets.networks.inputs import tensors_of

Scores = NDArray[np.float32]
Left = tuple[float, float]  # shares of parameters and of multiplications
Made = Callable[[], tuple[Scores, Left]]


@dataclass(frozen=True)
class StoredScores:
    """A folder of scores by what they depend on: weights, inputs, way, share and seed."""

    folder: Path | None
    key: str = ""

    @classmethod
    def of(
        cls,
        folder: Path | str | None,
        model: nn.Module,
        batches: Sequence[Any],
        seed: int,
        calibration: Any = None,
    ) -> StoredScores:
        """The folder for these weights and inputs; None keeps nothing."""
        if folder is None:
            return cls(None)
        identity = Identity(seed)
        identity.add_network(model)
        for part in (batches, calibration):
            identity.section()
            for tensor in [] if part is None else tensors_of(part):
                identity.add(tensor)
        remove_leftovers(Path(folder))
        return cls(Path(folder), identity.text)

    def of_network(self, way: str, keep: float, make: Made) -> tuple[Scores, Left]:
        """The scores of one network, and the shares that are left of it; made if missing."""
        if self.folder is None:
            return make()
        text = f"{self.key} {way} {keep!r}"
        name = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        path = self.folder / f"{name}.npz"
        if path.exists():
            return _read(path)
        found, left = make()
        with os_errors_named("write", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with staged(path) as place, place.open("wb") as stream:
            np.savez(stream, scores=found, left=np.array(left))
        return found, left


def _read(path: Path) -> tuple[Scores, Left]:
    """What was kept; DataIntegrityError if it is something else."""
    try:
        arrays = read_arrays(path)
    except DataIntegrityError:
        arrays = {}
    scores, left = (arrays.pop(name, np.zeros(0, np.bool_)) for name in ("scores", "left"))
    kinds = (scores.dtype.name, left.dtype.name, left.shape)
    if arrays or kinds != ("float32", "float64", (2,)):
        raise DataIntegrityError(f"{path} holds no scores; delete it and run again.")
    return scores, (float(left[0]), float(left[1]))
