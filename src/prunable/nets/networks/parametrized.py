"""Weights that other parameters make up, as weight normalisation does: copied, and made plain."""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prunable.errors import UnsupportedModelError
from prunable.nets.networks.ties import ties_of


def copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of a model that holds weights computed from its parameters."""
    # torch refuses to copy a tensor that remembers what it was computed from
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        copied_model = copy.deepcopy(model, memo)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be copied: {error}. Take out what is no tensor or "
            "plain value, such as locks and open files."
        ) from error
    named = dict(copied_model.named_parameters())
    for name, first in ties_of(dict(model.named_parameters())).items():
        named[name].data = named[first].data  # one memory under two parameters stays one
    return copied_model


def plain_copy(model: nn.Module) -> nn.Module:
    """A deep copy in evaluation mode, whose weights are all parameters of their own."""
    plain = copied(model).eval()
    if any(map(is_made_up, plain.modules())):
        make_plain_(plain)
    return plain


def is_made_up(module: nn.Module) -> bool:
    """Whether a weight of this very module is computed from other parameters."""
    return parametrize.is_parametrized(module) or any(
        isinstance(hook, WeightNorm | SpectralNorm) for hook in module._forward_pre_hooks.values()
    )


def make_plain_(model: nn.Module, only: Collection[str] | None = None) -> tuple[str, ...]:
    """Put the effective weights in the place of what makes them up, in place; give their names.

    `only` names weights whose layers are made plain; the others stay as they are.

    The model is left in evaluation mode, in which the weights are those of inference. Weights made
    up of the same parameters in the same way become one.
    """
    made: list[str] = []
    first: dict[tuple[Any, ...], Tensor] = {}
    model.eval()
    for prefix, module in list(model.named_modules()):
        if only is not None and not any(name.rpartition(".")[0] == prefix for name in only):
            continue
        if parametrize.is_parametrized(module):
            names = _unparametrize_(module, first)
        else:
            names = _unhook_(module)
        made += (f"{prefix}.{name}".lstrip(".") for name in names)
    return tuple(made)


def _unparametrize_(module: nn.Module, first: dict[tuple[Any, ...], Tensor]) -> list[str]:
    """Make a module's parametrized weights plain; `first` holds the weights of what made them up.

    torch's own removal takes the weights away from the copies of a module too: these share a class.
    """
    weights: dict[str, Tensor] = {}
    parametrizations: Any = module.parametrizations
    for name, parts in parametrizations.items():
        with torch.no_grad():
            weight = getattr(module, name).detach().clone()
        how = tuple((type(part), part.extra_repr()) for part in parts)
        sources = [*parts.parameters(), *parts.buffers()]
        if any(isinstance(source, nn.Parameter) for source in sources):
            trained = any(source.requires_grad for source in sources)
            weight = nn.Parameter(weight, requires_grad=trained)
        one = first.setdefault((how, *map(id, sources)), weight)
        weights[name] = one if one.equal(weight) else weight
    rest = dict(module._parameters)
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    module._parameters.clear()
    for name, weight in weights.items():  # before the biases, as in layers that never were
        if isinstance(weight, nn.Parameter):
            module.register_parameter(name, weight)
        else:
            module.register_buffer(name, weight)
    module._parameters.update(rest)
    return list(weights)


def _unhook_(module: nn.Module) -> list[str]:
    """Make weights plain that hooks make up, as the first versions of these norms did."""
    names = []
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        else:
            continue
        names.append(hook.name)
    return names
