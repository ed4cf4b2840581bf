"""Saliencies of weights from what flows into their layers: unlabelled inputs, no gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from prunable.errors import InputError, check_at_least, require
from prunable.nets.networks.examples import Example, checked_run, on_device_of, watching
from prunable.nets.networks.module_roles import is_conv1d
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
    layers = {module: name for name, module in model.named_modules() if _reads(module)}
    moments: dict[nn.Module, Moments] = {}

    def watch(module: nn.Module, x: Tensor) -> None:
        x = x.double()
        if isinstance(module, _ConvNd):
            x = x if x.ndim == module.weight.ndim else x[None]  # one picture without a batch
            x = x.transpose(0, 1)
        else:
            x = x.movedim(-1, 0)
        moments.setdefault(module, Moments()).add(x.flatten(1))

    with watching(model, layers, watch):
        for batch in inputs.split(chunk) if isinstance(inputs, Tensor) else inputs:
            checked_run(model, on_device_of(model, batch))
    reached = {module: found for module, found in moments.items() if found.n > 1}
    where, wanted = "activation_saliency", "several that reach a linear or convolutional layer"
    require(reached, "inputs", where, wanted, "none that do")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: Saliencies = {}
    for module, flowing in reached.items():
        own = f"{layers[module]}.weight".lstrip(".")
        name = names.get(id(module.weight), own)
        if not flowing.variance.isfinite().all():
            raise InputError(
                f"`inputs` of `{where}` bring NaN or infinity to `{name}`. Check the inputs."
            )
        shares = _shares(module, flowing.variance).cpu().numpy()
        # what several layers share counts in each
        found[name] = found[name] + shares if name in found else shares
    return found


def _reads(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | _ConvNd) or is_conv1d(module)


def _shares(module: Any, variance: Tensor) -> Tensor:
    """Of each weight, as stored, of the variance of the output that it adds to."""
    weight = module.weight.detach().double()
    variance = variance.to(weight.device)
    if is_conv1d(module):
        terms = weight.square() * variance[:, None]
        return _relative(terms, terms.sum(0))
    if not isinstance(module, _ConvNd):
        terms = weight.square() * variance
        return _relative(terms, terms.sum(1, keepdim=True))
    groups, taps = module.groups, list(range(3, weight.ndim + 1))
    if module.transposed:  # (in, out / groups, ...)
        terms = weight.square().unflatten(0, (groups, -1))
        terms = terms * variance.view(groups, -1, 1, *(1 for _ in taps))
        return _relative(terms, terms.sum([1, *taps], keepdim=True)).flatten(0, 1)
    terms = weight.square().unflatten(0, (groups, -1))  # (groups, out / groups, in / groups, ...)
    terms = terms * variance.view(groups, 1, -1, *(1 for _ in taps))
    return _relative(terms, terms.sum([2, *taps], keepdim=True)).flatten(0, 1)


def _relative(terms: Tensor, total: Tensor) -> Tensor:
    return terms / torch.where(total > 0, total, 1.0)
