"""A data set: points of four rings."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def rings() -> tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]:
    """Training examples with their classes, then those of the test."""
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=1000)
    angle = rng.uniform(0, 2 * np.pi, 1000)
    radius = 1 + y + rng.normal(0, 0.2, 1000)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    return x[:800], y[:800], x[800:], y[800:]
