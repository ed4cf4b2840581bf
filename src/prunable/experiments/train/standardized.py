"""Training on standardised inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prunable.data.loaders import Dataset
from prunable.experiments.train.specs import TrainSpec


class StandardizedTrainSpec(TrainSpec):
    """A training run whose inputs are standardised, by channel, over the training set."""

    standardized: Literal[True] = True


def standardized(data: Dataset) -> Dataset:
    """Subtract the mean of each channel of the training inputs and divide by its deviation.

    Parameters
    ----------
    data : Dataset
        Pictures (n, channels, height, width), or arrays of one channel of any other shape.

    Returns
    -------
    Dataset
        Both parts by the same numbers; read-only.
    """
    x = data.x_train
    axes = (0, 2, 3) if x.ndim == 4 else None
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)
    std = x.std(axis=axes, keepdims=True, dtype=np.float64)

    def scaled(part: NDArray[np.floating]) -> NDArray[np.floating]:
        result = (part - mean.astype(part.dtype)) / std.astype(part.dtype)
        result.flags.writeable = False
        return result

    return replace(data, x_train=scaled(x), x_test=scaled(data.x_test))
