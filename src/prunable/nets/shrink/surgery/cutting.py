"""Cut what a plan prunes out of a model: a smaller module that computes the same."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import UnsupportedModelError, check_at_least, require
from prunable.nets.networks.equality import check_same, exact_outputs, expected_outputs
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.shrink.modules import ShrinkResult, count_parameters, has_hooks
from prunable.nets.shrink.surgery.channels import Channels, TracedLayer


def shrink(
    model: nn.Module, plan: PruningPlan, example: Tensor, *, round_to: int = 1
) -> ShrinkResult:
    """Copy a model without what a plan prunes: it equals the masked one in evaluation mode.

    The model has linear layers, convolutions and what acts on their channels one by one:
    activations, batch normalisation, dropout, pooling, flattening and additions; it is left
    untouched. What the plan zeroes is cut where whole units or inputs become superfluous; zeros
    that the model held before count as well. The shape of the floating-point example is followed
    through the model, its values only serve the check. Channel counts are rounded up to a multiple
    of `round_to`, by zero units, and never beyond the original.

    A unit without incoming weights is constant: the constant is added to the next layer's
    bias. Where it is not zero and meets zero padding, which makes it differ at the borders,
    the unit stays. A unit whose outgoing weights are all zero goes with its producer. Units
    that additions tie together go together. Every layer keeps at least one unit.

    Raises InputError if the plan or the example does not fit the model, or `round_to` is below 1;
    UnsupportedModelError if the model holds what cannot be cut safely, or the check fails.
    """
    check_at_least(round_to, 1, "round_to", "shrink")
    usable = example.is_floating_point() and example.numel()
    shown = f"{example.dtype} of shape {tuple(example.shape)}"
    require(usable, "example", "shrink", "a non-empty floating-point tensor", shown)
    small = copy.deepcopy(model)
    apply_plan_(small.named_parameters(), plan)
    _check_ownership(small)
    expected = expected_outputs(small, example)
    # double precision: the constants are exact and the check sees only real differences
    masked = copy.deepcopy(small).cpu().double().eval()
    name = type(model).__name__
    with torch.no_grad():
        trace = Channels(masked, example.detach().cpu().double())
        # the graph is that of one path through the model's code: it must be the one taken
        check_same([trace.output], expected, masked, name, "shrunk")
        needed = trace.needed()
        chosen = {group: _rounded(mask, round_to) for group, mask in needed.items()}
        kept = {
            layer.name: _cut_layer(layer, small, needed, chosen, trace.find)
            for layer in trace.layers
        }
        for norm, group, block in trace.norms:
            _cut_norm(small.get_submodule(norm), chosen[trace.find(group)], block)
    difference = check_same(exact_outputs(small, example), expected, small, name, "shrunk")
    return ShrinkResult(small, difference, count_parameters(model), count_parameters(small), kept)


def _check_ownership(model: nn.Module) -> None:
    """Refuse what makes a layer more than its weights: ties and hooks."""
    owners: dict[int, tuple[str, nn.Module]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = model.get_submodule(name.rpartition(".")[0])
        first, other = owners.setdefault(id(parameter), (name, owner))
        if other is not owner:
            raise UnsupportedModelError(
                f"`{name}` cannot be shrunk: it is tied to `{first}`. Leave the zeros in place."
            )
    for name, module in model.named_modules():
        if has_hooks(module):
            raise UnsupportedModelError(
                f"`{name or type(module).__name__}` cannot be shrunk: it has hooks. Remove them."
            )


def _rounded(needed: Tensor, round_to: int) -> Tensor:
    """Add channels up to a multiple, and at least one."""
    count = int(needed.sum())
    target = min(len(needed), max(1, math.ceil(count / round_to)) * round_to)
    chosen = needed.clone()
    chosen[(~needed).nonzero()[: target - count, 0]] = True
    return chosen


def _cut_layer(
    layer: TracedLayer,
    model: nn.Module,
    needed: Mapping[int, Tensor],
    chosen: Mapping[int, Tensor],
    find: Callable[[int], int],
) -> tuple[int, int]:
    module: Any = model.get_submodule(layer.name)
    into, out = find(layer.group_in), find(layer.group_out)
    weight = module.weight.detach()
    # units that only fill up are zero, and nobody listens to them
    idle_rows = (~needed[out]).to(weight.device)
    idle_columns = (~needed[into]).repeat_interleave(layer.block).to(weight.device)
    rows = chosen[out].to(weight.device)
    columns = chosen[into].repeat_interleave(layer.block).to(weight.device)
    weight = weight.clone()
    weight[idle_rows] = 0
    weight[:, idle_columns] = 0
    shift = layer.shift[:, ~needed[into]].sum(1)
    shift[~needed[out]] = 0
    bias = None
    if module.bias is not None or shift.any():
        old = 0.0 if module.bias is None else module.bias.detach().cpu().double()
        bias = (old + shift).to(weight)
        bias[idle_rows] = 0
        bias = bias[rows]
    grad = module.weight.requires_grad
    module.weight = nn.Parameter(weight[rows][:, columns].contiguous(), requires_grad=grad)
    if bias is not None:
        grad = grad if module.bias is None else module.bias.requires_grad
        module.bias = nn.Parameter(bias, requires_grad=grad)
    sizes = (int(rows.sum()), int(columns.sum()))
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = sizes
    else:
        module.out_channels, module.in_channels = sizes
    return sizes


def _cut_norm(module: Any, chosen: Tensor, block: int) -> None:
    features = chosen.repeat_interleave(block).to(module.running_mean.device)
    for name in ("weight", "bias"):
        old = getattr(module, name)
        if old is not None:
            new = nn.Parameter(old.detach()[features], requires_grad=old.requires_grad)
            setattr(module, name, new)
    module.running_mean = module.running_mean[features]
    module.running_var = module.running_var[features]
    module.num_features = int(features.sum())
