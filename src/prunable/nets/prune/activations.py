"""Saliencies of weights from what flows into their layers: unlabelled inputs, no gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import InputError, check_at_least, require
from prunable.nets.calibration.calibrating import layers_of
from prunable.nets.calibration.layers import batch_of_layer, matrix_of
from prunable.nets.networks.examples import Example, checked_run, on_device_of, watching
from prunable.nets.networks.module_roles import is_conv1d
from prunable.nets.networks.views import as_stored
from prunable.nets.prune.recalibration import Moments
from prunable.nets.prune.saliency import Saliencies


def activation_saliency(
    model: nn.Module, inputs: Tensor | Iterable[Example], *, chunk: int = 128
) -> Saliencies:
    """The share of its output's variance that each weight of linear and convolutional layers has.

    Gives w_ij^2 Var(x_j) / sum_k w_ik^2 Var(x_k), x_j the layer's input feature over inputs and
    positions, features taken for independent. What a unit's mean adds is left out: biases, or
    BatchNorm statistics estimated again, make up for it. The rows of an output add up to 1, so that
    of `UnitPruning` the layers that read a unit decide. A tensor of inputs, `chunk` at a time, or
    batches of what the model is called with; the model runs in evaluation mode. Parameters of
    other layers, or of layers that no input reaches, have no entry.

    Raises InputError if inputs do not fit, bring NaN or infinity, or reach no such layer.
    """
    check_at_least(chunk, 1, "chunk", "activation_saliency")
    names, moments = layers_of(model, None), dict[nn.Module, Moments]()

    def watch(module: nn.Module, x: Tensor) -> None:
        flowing = batch_of_layer(module, x.double()).transpose(0, 1)
        moments.setdefault(module, Moments()).add(flowing.flatten(1))

    with watching(model, names, watch):
        for batch in inputs.split(chunk) if isinstance(inputs, Tensor) else inputs:
            checked_run(model, on_device_of(model, batch))
    reached = {module: found for module, found in moments.items() if found.n > 1}
    where, wanted = "activation_saliency", "several that reach a linear or convolutional layer"
    require(reached, "inputs", where, wanted, "none that do")
    found: Saliencies = {}
    for module, flowing in reached.items():
        name = names[module]
        if not flowing.variance.isfinite().all():
            raise InputError(
                f"`inputs` of `{where}` bring NaN or infinity to `{name}`. Check the inputs."
            )
        shares = _shares(module, flowing.variance).cpu().numpy()
        # what several layers share counts in each
        found[name] = found[name] + shares if name in found else shares
    return found


def _shares(module: Any, variance: Tensor) -> Tensor:
    """Of each weight, as stored, of the variance of the output that it adds to."""
    transposed = is_conv1d(module) or getattr(module, "transposed", False)
    groups, matrix = getattr(module, "groups", 1), matrix_of(module).double()
    inputs = variance.to(matrix.device).view(groups, -1)  # of each group
    rows, taps = len(matrix) // groups, matrix.shape[1] // inputs.shape[1]
    terms = matrix.square() * inputs.repeat_interleave(taps, 1).repeat_interleave(rows, 0)
    total = terms.sum(1, keepdim=True)
    shares = terms / torch.where(total > 0, total, 1.0)
    found: Tensor = as_stored(shares, tuple(module.weight.shape), transposed, groups)
    return found
