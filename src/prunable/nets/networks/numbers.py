"""Tensors that hold no plain real numbers: sparse, quantised, nested, complex, whole ones."""

from __future__ import annotations

import torch
from torch import nn


def no_array(tensor: torch.Tensor) -> str | None:
    """Why a tensor cannot be read as an array, and what would mend it.

    Tensors on the meta device pass: they have no numbers at all, which is another fault.
    """
    if tensor.is_quantized:
        return "a quantised tensor: store what dequantize() gives"
    if tensor.is_nested:
        return "a nested tensor: store its parts"
    if tensor.layout is not torch.strided:
        return "a sparse tensor: store what to_dense() gives"
    return None


def no_weights(tensor: torch.Tensor) -> str | None:
    """Why a tensor's numbers cannot be weights that are pruned, and what would mend it."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if no_array(tensor) is None and tensor.is_complex():
        return f"numbers of type {dtype}: store real and imaginary parts"
    return no_array(tensor) or (None if tensor.is_floating_point() else f"numbers of type {dtype}")


def packed_layers(model: nn.Module) -> dict[str, str]:
    """Layers whose weights torch's quantisation has packed away, by name, with the reason."""
    reason = "a quantised layer, whose weights are packed: take the network before quantisation"
    packed = (name for name, module in model.named_modules() if hasattr(module, "_packed_params"))
    return {name: reason for name in packed if not name.endswith("_packed_params")}
