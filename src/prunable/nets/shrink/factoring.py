"""From kept singular values to layers of two factors, where those are smaller."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunable.arguments import checked
from prunable.errors import require
from prunable.nets.networks.equality import check_same, exact_outputs, expected_outputs
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import LayerPlan, PruningPlan
from prunable.nets.shrink.modules import CONVOLUTIONS, SmallerModel, count_parameters, shared, swap_


@dataclass(frozen=True)
class FactoredLayer:
    """What became of one layer, a parameter's `name`: whether it is now two, why, and its size."""

    name: str
    factored: bool
    reason: str
    rank: int  # kept singular values
    n_parameters_before: int  # weights, without the bias
    n_parameters: int


@dataclass(frozen=True, eq=False)
class FactoredResult(SmallerModel):
    """A model with factored layers; `layers` are those whose singular values the plan prunes."""

    layers: tuple[FactoredLayer, ...]

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [vars(layer) for layer in self.layers]


@checked("factor")
def factor(model: nn.Module, plan: PruningPlan, example: Any) -> FactoredResult:
    """Replace layers of few singular values by two smaller ones, in a copy of the model.

    Raises InputError if the plan or the example does not fit the model; UnsupportedModelError if
    the factored model computes something else.

    A matrix (m, n) of rank r is two factors of r (m + n) numbers, which is smaller if
    r < m n / (m + n). A linear layer becomes two; a convolution becomes one with the same
    kernel, stride and padding to r channels, and one with kernels of a single entry. Each
    factor takes the square root of the singular values, so that both are of one scale.
    A layer stays a whole truncated matrix where that is not larger, or where it is more than
    its own weights: tied, with hooks, in groups, filled with medians, or read by code other
    than its own.

    `plan`: applied whole; only layers whose singular values it prunes can become two. `example`
    (Tensor or tuple of Tensor): input of the check.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 64))
    >>> values = prunable.strategies.SingularValuePruning()
    >>> pruned = prunable.prune(net, values, prunable.budgets.Keep(0.25))
    >>> prunable.factor(net, pruned.plan, torch.zeros(1, 64)).model[0]
    Sequential(
      (0): Linear(in_features=64, out_features=16, bias=False)
      (1): Linear(in_features=16, out_features=64, bias=True)
    )
    """
    spectral = [layer for layer in plan.layers if layer.axis == "singular_value"]
    wanted = "one that prunes singular values, as `SingularValuePruning` does"
    require(spectral, "plan", "factor", wanted, f"one by {plan.method}")
    masked = copied(model)
    apply_plan_(masked.named_parameters(), plan)
    expected = expected_outputs(masked, example)
    weights = dict(model.named_parameters())
    reasons: dict[str, str] = {}
    factors: dict[str, nn.Sequential] = {}
    for layer in spectral:
        reason = _obstacle(masked, layer)
        if reason is None:
            module = masked.get_submodule(_owner(layer.name))
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
    return FactoredResult(
        result,
        check_same(found, expected, result, type(model).__name__, "factored"),
        count_parameters(model),
        count_parameters(result),
        tuple(_summary(layer, reasons.get(layer.name)) for layer in spectral),
    )


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


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
    module: Any = model.get_submodule(_owner(layer.name))
    own = layer.name.rpartition(".")[2]
    if type(module) not in (nn.Linear, *CONVOLUTIONS) or own != "weight":
        return f"{type(module).__name__} has no factored form here"
    if _size(layer) >= layer.n_parameters:
        limit = layer.n_parameters / sum(layer.shape)
        return f"two factors are smaller only below rank {limit:.4g}, and {layer.n_kept} are kept"
    if getattr(module, "groups", 1) != 1:
        return f"it has {module.groups} groups"
    if layer.fill is not None and layer.fill.any():
        return "it is filled with medians, which are no part of the factors"
    return shared(model, module)


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
    for made, values in ((first, inner), (second, outer)):
        numbers = values.to(weight.dtype).contiguous()
        made.weight = nn.Parameter(numbers, requires_grad=weight.requires_grad)
    return nn.Sequential(first, second).train(module.training)


def _replaced(model: nn.Module, factors: Mapping[str, nn.Sequential]) -> nn.Module:
    """Copy a model, with two layers where one was."""
    pairs = {_owner(name): pair for name, pair in factors.items()}

    def make(name: str, old: Any) -> nn.Module:
        pair: Any = copy.deepcopy(pairs[name])
        pair[1].bias = old.bias  # the same parameter, so that ties last
        made: nn.Module = pair
        return made

    return swap_(copied(model), pairs, make)


def _outputs(model: nn.Module, example: Any) -> list[Tensor] | str:
    """Outputs in float64, or what the model said instead."""
    try:
        return exact_outputs(model, example)
    except (AttributeError, TypeError, RuntimeError) as error:
        return str(error)
