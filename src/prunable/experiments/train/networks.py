"""Data sets as tensors, for networks."""

import torch

from prunable.data.loaders import Dataset

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def as_tensors(data: Dataset, device: torch.device | str = "cpu") -> Tensors:
    """Training inputs and classes, test inputs and classes, as copies that torch may write."""
    arrays = (data.x_train, data.y_train, data.x_test, data.y_test)
    x, y, x_test, y_test = (torch.from_numpy(array.copy()).to(device) for array in arrays)
    return x, y, x_test, y_test
