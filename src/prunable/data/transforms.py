"""What is done to a data set before a network sees it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunable.data.loaders import Dataset

Inputs = Literal["as-is", "standardized", "signed"]
Classes = Literal["all", "first-or-not"]
Array = NDArray[np.floating[Any]]


def standardized(data: Dataset) -> Dataset:
    """Subtract the mean of each channel of the training inputs and divide by its deviation.

    Inputs are pictures (n, channels, height, width), or of one channel and any other shape;
    both parts are scaled by the same numbers.
    """
    x = data.x_train
    axes = (0, 2, 3) if x.ndim == 4 else None
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64).astype(x.dtype)
    std = x.std(axis=axes, keepdims=True, dtype=np.float64).astype(x.dtype)
    return _mapped(data, lambda part: (part - mean) / std)


def signed(data: Dataset) -> Dataset:
    """Stretch inputs in [0, 1] to [-1, 1]."""
    return _mapped(data, lambda part: part * 2 - 1)


def first_or_not(data: Dataset) -> Dataset:
    """Tell the first class from all others, such as normal heartbeats from abnormal ones."""
    first = data.class_names[0]
    y_train, y_test = ((y > 0).astype(np.int64) for y in (data.y_train, data.y_test))
    return replace(data, class_names=(first, f"not {first}"), y_train=y_train, y_test=y_test)


def flattened(data: Dataset) -> Dataset:
    """Make vectors of pictures."""
    return _mapped(data, lambda part: part.reshape(len(part), -1))


def _mapped(data: Dataset, change: Callable[[Array], Array]) -> Dataset:
    parts = [change(part) for part in (data.x_train, data.x_test)]
    for part in parts:
        part.flags.writeable = False
    return replace(data, x_train=parts[0], x_test=parts[1])
