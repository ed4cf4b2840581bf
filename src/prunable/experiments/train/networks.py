"""Data sets as tensors, for networks."""

import torch
from torch import nn

from prunable.data.loaders import Dataset

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def as_tensors(data: Dataset, device: torch.device | str = "cpu") -> Tensors:
    """Training inputs and classes, test inputs and classes, as copies that torch may write."""
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    x, y, x_test, y_test = (torch.from_numpy(array.copy()).to(device) for array in arrays)
    return x, y, x_test, y_test


def tensors_for(data: Dataset, model: nn.Module) -> Tensors:
    """As `as_tensors`, where a model is and, if inputs are floats, in its precision."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    x, y, x_test, y_test = as_tensors(data, "cpu" if first is None else first.device)
    if first is not None and x.is_floating_point():
        x, x_test = x.to(first.dtype), x_test.to(first.dtype)
    return x, y, x_test, y_test
