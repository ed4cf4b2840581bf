"""Tied parameters: names that stand for the same numbers in memory."""

from collections.abc import Mapping

import torch


def memory_of(tensor: torch.Tensor) -> tuple[object, ...]:
    """What is the same of tensors that hold the same numbers in memory."""
    plain = tensor.layout is torch.strided and not (tensor.is_nested or tensor.is_meta)
    if plain and tensor.numel():
        return (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
    return (id(tensor),)


def ties_of(named: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Names whose numbers an earlier name has already, and that name.

    Tied are tensors of the same memory, shape and strides, whether or not they are one object.
    """
    first: dict[tuple[object, ...], str] = {}
    ties = {}
    for name, tensor in named.items():
        kept = first.setdefault(memory_of(tensor), name)
        if kept != name:
            ties[name] = kept
    return ties
