"""From kept singular values to layers of two factors, where those are smaller."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunable.nets.networks.equality import check_same, exact_outputs, expected_outputs
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import LayerPlan, PruningPlan

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class FactoredLayer:
    """What became of one layer.

    Attributes
    ----------
    name : str
        Name of the parameter.
    factored : bool
        Whether the layer is now two.
    reason : str
        Why, in words.
    rank : int
        Kept singular values.
    n_parameters_before, n_parameters : int
        Weights of the layer, without its bias.
    """

    name: str
    factored: bool
    reason: str
    rank: int
    n_parameters_before: int
    n_parameters: int


@dataclass(frozen=True, eq=False)
class FactoredResult:
    """A model with factored layers and the check that it computes the same.

    Attributes
    ----------
    model : Module
        A copy; in the training mode, precision and device of the given model.
    max_difference : float
        Largest |factored(example) - masked(example)|, in evaluation mode and float64.
    layers : tuple of FactoredLayer
        Those whose singular values the plan prunes.
    n_parameters_before, n_parameters : int
        Numbers in the given model and in the result, tied ones once.
    """

    model: nn.Module
    max_difference: float
    layers: tuple[FactoredLayer, ...]
    n_parameters_before: int
    n_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """Summarise as plain JSON values."""
        return {
            "max_difference": self.max_difference,
            "n_parameters_before": self.n_parameters_before,
            "n_parameters": self.n_parameters,
            "layers": [vars(layer) for layer in self.layers],
        }


def factor(model: nn.Module, plan: PruningPlan, example: Any) -> FactoredResult:
    """Replace layers of few singular values by two smaller ones.

    Parameters
    ----------
    model : Module
        Left untouched.
    plan : PruningPlan
        Applied whole; only layers whose singular values it prunes can become two.
    example : Tensor or tuple of Tensor
        Input of the check.

    Returns
    -------
    FactoredResult

    Raises
    ------
    InputError
        If the plan or the example does not fit the model.
    UnsupportedModelError
        If the factored model computes something else.

    Notes
    -----
    A matrix (m, n) of rank r is two factors of r (m + n) numbers, which is smaller if
    r < m n / (m + n). A linear layer becomes two; a convolution becomes one with the same
    kernel, stride and padding to r channels, and one with kernels of a single entry. Each
    factor takes the square root of the singular values, so that both are of one scale.
    A layer stays a whole truncated matrix where that is not larger, or where it is more than
    its own weights: tied, with hooks, in groups, filled with medians, or read by code other
    than its own.
    """
    masked = copy.deepcopy(model)
    apply_plan_(masked.named_parameters(), plan)
    expected = expected_outputs(masked, example)
    weights = dict(model.named_parameters())
    spectral = [layer for layer in plan.layers if layer.axis == "singular_value"]
    reasons: dict[str, str] = {}
    factors: dict[str, nn.Sequential] = {}
    for layer in spectral:
        reason = _obstacle(masked, layer)
        if reason is None:
            module: Any = masked.get_submodule(layer.name.rpartition(".")[0])
            factors[layer.name] = _factors(module, weights[layer.name], layer)
        else:
            reasons[layer.name] = reason
    result = _replaced(masked, factors)
    found = _outputs(result, example)
    if isinstance(found, str):  # whose weights does other code read?
        for name in list(factors):
            error = _outputs(_replaced(masked, {name: factors[name]}), example)
            if isinstance(error, str):
                reasons[name] = f"other code reads its weights ({error})"
                del factors[name]
        result = _replaced(masked, factors)
        found = exact_outputs(result, example)
    difference = check_same(found, expected, result, type(model).__name__, "factored")
    return FactoredResult(
        result,
        difference,
        tuple(_summary(layer, reasons.get(layer.name)) for layer in spectral),
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for p in result.parameters()),
    )


def _size(layer: LayerPlan) -> int:
    """Numbers in two factors; an empty matrix has rank 1 there, for layers have no rank 0."""
    return max(1, layer.n_kept) * sum(layer.shape)


def _summary(layer: LayerPlan, obstacle: str | None) -> FactoredLayer:
    whole = layer.n_parameters
    if obstacle is not None:
        return FactoredLayer(layer.name, False, obstacle, layer.n_kept, whole, whole)
    size = _size(layer)
    reason = f"two factors of {size} weights instead of {whole}"
    return FactoredLayer(layer.name, True, reason, layer.n_kept, whole, size)


def _obstacle(model: nn.Module, layer: LayerPlan) -> str | None:
    """Why a layer stays one matrix; None if it need not."""
    owner, _, own = layer.name.rpartition(".")
    module: Any = model.get_submodule(owner)
    if type(module) not in (nn.Linear, *CONVOLUTIONS) or own != "weight":
        return f"{type(module).__name__} has no factored form here"
    if _size(layer) >= layer.n_parameters:
        limit = layer.n_parameters / sum(layer.shape)
        return f"two factors are smaller only below rank {limit:.4g}, and {layer.n_kept} are kept"
    if getattr(module, "groups", 1) != 1:
        return f"it has {module.groups} groups"
    if layer.fill is not None and layer.fill.any():
        return "it is filled with medians, which are no part of the factors"
    owners = [m for m in model.modules() for p in m._parameters.values() if p is module.weight]
    if len(owners) > 1:
        return "its weights are tied to another layer's"
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has hooks"
    return None


def _factors(module: Any, weight: Tensor, layer: LayerPlan) -> nn.Sequential:
    """Two layers whose product is the truncated matrix, without a bias."""
    matrix = weight.detach().double().flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = torch.from_numpy(layer.kept.copy()).to(s.device)
    if not kept.any():
        kept[0], s = True, torch.zeros_like(s)
    root = s[kept].sqrt()
    rank, out = len(root), layer.shape[0]
    inner = (root[:, None] * v[kept]).reshape(rank, *weight.shape[1:])
    outer = (u[:, kept] * root).reshape(out, rank, *(1,) * (weight.ndim - 2))
    if type(module) is nn.Linear:
        first: Any = nn.Linear(module.in_features, rank, bias=False, device="meta")
        second: Any = nn.Linear(rank, out, bias=False, device="meta")
    else:
        kind = type(module)
        first = kind(
            module.in_channels,
            rank,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            bias=False,
            padding_mode=module.padding_mode,
            device="meta",
        )
        second = kind(rank, out, 1, bias=False, device="meta")
    grad = weight.requires_grad
    first.weight = nn.Parameter(inner.to(weight.dtype).contiguous(), requires_grad=grad)
    second.weight = nn.Parameter(outer.to(weight.dtype).contiguous(), requires_grad=grad)
    return nn.Sequential(first, second).train(module.training)


def _replaced(model: nn.Module, factors: Mapping[str, nn.Sequential]) -> nn.Module:
    """Copy a model, with two layers where one was, under every name that it has."""
    result = copy.deepcopy(model)
    for name, factored in factors.items():
        old: Any = result.get_submodule(name.rpartition(".")[0])
        pair = copy.deepcopy(factored)
        pair[1].bias = old.bias  # the same parameter, so that ties last
        if old is result:
            return pair
        for parent in list(result.modules()):
            for own, child in list(parent._modules.items()):
                if child is old:
                    setattr(parent, own, pair)
    return result


def _outputs(model: nn.Module, example: Any) -> list[Tensor] | str:
    """Outputs in float64, or what the model said instead."""
    try:
        return exact_outputs(model, example)
    except (AttributeError, TypeError, RuntimeError) as error:
        return str(error)
