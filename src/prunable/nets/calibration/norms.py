"""How large what flows into each layer is, kept in a file for runs that have no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from prunable.errors import DataIntegrityError
from prunable.nets.archive import open_archive
from prunable.nets.archive.safetensors_file import save_tensors
from prunable.nets.calibration.calibrating import Calibration
from prunable.numerics.arrays import FloatArray

Norms = Mapping[str, FloatArray]  # (groups, width) each, by the name of the weight


def write_norms(known: Calibration, path: Path | str) -> None:
    """Write the root mean squares of what flows into each layer, for `prune --norms`.

    Raises InputError if the file cannot be written.

    >>> import torch
    >>> from prunable.nets.calibration.calibrating import calibrate
    >>> found = calibrate(torch.nn.Linear(3, 2), torch.ones(4, 3), products=False)
    >>> write_norms(found, "norms.safetensors")
    >>> {name: x.tolist() for name, x in read_norms("norms.safetensors").items()}
    {'weight': [[1.0, 1.0, 1.0]]}
    """
    sizes = {name: rms for name, (rms, _) in known.moments.items()}
    sizes |= {name: gram.rms for name, gram in known.grams.items()}
    save_tensors(Path(path), {name: torch.from_numpy(x.copy()) for name, x in sizes.items()}, {})


def read_norms(path: Path | str) -> Norms:
    """Read what `write_norms` wrote, or vectors (width,) by the names of weights.

    Raises DataIntegrityError if it is damaged or no such file; numbers must be finite and >= 0.
    """
    found = {}
    with open_archive(path) as archive:
        for tensor in archive.tensors:
            rms = np.atleast_2d(np.asarray(tensor.load(), dtype=np.float64))
            if rms.ndim != 2 or not rms.size or not (np.isfinite(rms) & (rms >= 0)).all():
                raise DataIntegrityError(
                    f"{path} holds no sizes of inputs: {tensor.name} must be a vector, or one for "
                    "each group, of numbers that are finite and >= 0. Write it by `write_norms`."
                )
            found[tensor.name] = rms
    return found
