"""Applying a pruning plan: the only code through which a plan changes weights."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from prunable.arguments import as_named, checked
from prunable.errors import InputError
from prunable.nets.networks.views import as_stored, out_in
from prunable.nets.prune.grouped import GroupPlan, kept_indices
from prunable.nets.prune.plan import LayerPlan, PruningPlan
from prunable.numerics.parallel import each

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
CHUNK = 2**18  # weights beside their masks that a cache holds


def apply_plan_(named_parameters: Iterable[tuple[str, torch.Tensor]], plan: PruningPlan) -> None:
    """Set what a plan prunes to 0, or to its fill, and what is left to its values, in place.

    Singular values are pruned in the product that they make up; with units go the parameters that
    follow them, such as their biases. `named_parameters` may hold more
    than the plan names; an InputError, if one is missing or of another shape, changes nothing.
    """
    parameters = dict(named_parameters)
    _check([*_problems(parameters, plan), *_problems_of_groups(parameters, plan.groups)])
    with torch.no_grad():
        for layer in plan.layers:
            if layer.bias is not None:
                bias = parameters[layer.bias[0]]
                bias.copy_(torch.from_numpy(layer.bias[1]).to(bias))
            for name in layer.followers:
                parameters[name][~_units(layer, parameters[name])] = 0
        each(lambda layer: _prune_(parameters[layer.name].detach(), layer), plan.layers)
        mask_groups_(parameters, plan.groups)


def _prune_(weights: torch.Tensor, layer: LayerPlan) -> None:
    if layer.axis == "singular_value":
        weights.copy_(_truncated(weights, layer))
        return
    kept = mask_of(layer, weights.shape).to(weights.device)
    if layer.values is not None:
        values = torch.from_numpy(layer.values.astype(np.float64)).to(weights)
        weights.copy_(_as_stored(values, weights.shape, layer))
    if layer.fill is not None:
        weights.copy_(torch.where(kept, weights, fill_of(layer, weights)))
        return
    # by their bits: a product with 0 would leave -0.0, and `where` takes twice as long
    bits = weights.view(INTEGERS[weights.element_size()])
    rows = max(1, CHUNK * len(bits) // max(1, bits.numel()))
    for some, keep in zip(bits.split(rows), kept.split(rows), strict=True):
        some.mul_(keep)


def _problems(parameters: Mapping[str, torch.Tensor], plan: PruningPlan) -> Iterator[str]:
    for layer in plan.layers:
        if layer.name not in parameters:
            yield f"it has no parameter `{layer.name}`"
            continue
        if _is_expanded(parameters[layer.name]):
            yield f"`{layer.name}` is expanded: several of its numbers share one place"
            continue
        shape = tuple(parameters[layer.name].shape)
        if matrix_shape(layer, shape) != layer.shape:
            yield f"`{layer.name}` has shape {shape}, planned as a matrix of {layer.shape}"
        biases = () if layer.bias is None else (layer.bias[0],)
        for name in (*layer.followers, *biases):
            if name not in parameters:
                yield f"it has no parameter `{name}`"
            elif parameters[name].shape != (layer.shape[0],):
                found = tuple(parameters[name].shape)
                yield f"`{name}` has shape {found}, planned for {layer.shape[0]} units"


@torch.no_grad()
def mask_groups_(parameters: Mapping[str, torch.Tensor], groups: Sequence[GroupPlan]) -> None:
    """Zero all that pruned units are made of, and all that reads them, in place.

    Raises InputError if a parameter is missing or of another shape; then nothing is changed.
    """
    _check(list(_problems_of_groups(parameters, groups)))
    for name, by_dim in kept_indices(groups, buffers=False).items():
        for dim, keep in by_dim.items():
            gone = torch.from_numpy(np.flatnonzero(~keep)).to(parameters[name].device)
            parameters[name].index_fill_(dim, gone, 0)


def _is_expanded(tensor: torch.Tensor) -> bool:
    return any(n > 1 and step == 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _check(problems: Sequence[str]) -> None:
    if problems:
        raise InputError(
            f"The plan does not fit the model: {'; '.join(problems[:8])}. Nothing was changed. "
            "Apply it to the model it was made for."
        )


def _problems_of_groups(
    parameters: Mapping[str, torch.Tensor], groups: Sequence[GroupPlan]
) -> Iterator[str]:
    for group in groups:
        for member in group.group.members:
            if member.buffer:
                continue
            found = parameters.get(member.parameter)
            if found is None:
                yield f"it has no parameter `{member.parameter}`"
            elif _is_expanded(found):
                yield f"`{member.parameter}` is expanded: several of its numbers share one place"
            elif found.ndim <= member.dim or found.shape[member.dim] != member.size:
                yield (
                    f"`{member.parameter}` has shape {tuple(found.shape)}, planned with "
                    f"{member.size} along dimension {member.dim}"
                )


def matrix_shape(layer: LayerPlan, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Shape of the matrix that a parameter is where it is stored as the plan says."""
    return _matrix(layer, _seen(layer, shape))


def _seen(layer: LayerPlan, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a plan takes a parameter to have: a stack of experts may be one matrix."""
    one = (math.prod(shape[:-1]), *shape[-1:])
    stack = len(shape) == 3 and layer.taps == 1 and _matrix(layer, one) == layer.shape
    return one if stack else shape


def _matrix(layer: LayerPlan, shape: tuple[int, ...]) -> tuple[int, int] | None:
    if len(shape) < 2 or 0 in shape or (layer.transposed and shape[0] % layer.groups):
        return None
    out = shape[1] * layer.groups if layer.transposed else shape[0]
    return (out, math.prod(shape) // out)


def _units(layer: LayerPlan, beside: torch.Tensor) -> torch.Tensor:
    """Which units are kept, on the device of a tensor."""
    # the plan's array is read-only, which torch does not know
    return torch.from_numpy(layer.kept.copy()).to(beside.device)


def mask_of(layer: LayerPlan, shape: torch.Size) -> torch.Tensor:
    """What a plan keeps, not of singular values, as bools in the shape that a weight is stored in.

    On the CPU.
    """
    # the plan's array is read-only, which torch does not know
    matrix = torch.from_numpy(layer.matrix_mask.copy())
    return _as_stored(matrix, shape, layer)


@checked("masks_of")
def masks_of(
    plan: PruningPlan, named_parameters: Iterable[tuple[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """The masks of all layers of a plan that has any, by parameter; see `hold_masks`.

    Biases and other parameters that are pruned with units have masks too.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(4, 2)
    >>> magnitude, half = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.5)
    >>> pruned = prunable.prune(net, magnitude, half)
    >>> masks = masks_of(pruned.plan, net.named_parameters())
    >>> list(masks), int(masks["weight"].sum())
    (['weight'], 4)
    """
    named = as_named(named_parameters, "masks_of")
    masks: dict[str, torch.Tensor] = {}
    for layer in plan.layers:
        masks[layer.name] = mask_of(layer, named[layer.name].shape)
        for name in layer.followers:
            kept = torch.from_numpy(layer.kept.copy())
            masks[name] = masks[name] & kept if name in masks else kept
    _check(list(_problems_of_groups(named, plan.groups)))
    for name, by_dim in kept_indices(plan.groups, buffers=False).items():
        for dim, keep in by_dim.items():
            shape = [1] * named[name].ndim
            shape[dim] = keep.size
            kept = torch.from_numpy(keep).view(shape).expand(named[name].shape)
            masks[name] = masks[name] & kept if name in masks else kept.clone()
    return masks


def fill_of(layer: LayerPlan, weights: torch.Tensor) -> torch.Tensor:
    """What a plan sets the pruned weights of a parameter to, in its shape and dtype."""
    out, width = layer.shape
    fill = torch.zeros(1) if layer.fill is None else torch.from_numpy(layer.fill)
    blocks = fill.to(weights).expand(out, width // layer.taps, layer.taps)
    return _as_stored(blocks.reshape(layer.shape), weights.shape, layer)


def _as_stored(matrix: torch.Tensor, shape: torch.Size, layer: LayerPlan) -> torch.Tensor:
    seen = _seen(layer, tuple(shape))
    found: torch.Tensor = as_stored(matrix, seen, layer.transposed, layer.groups)
    return found.reshape(shape)


def _truncated(weights: torch.Tensor, layer: LayerPlan) -> torch.Tensor:
    """The matrix of the kept singular triples, computed in float64, in the parameter's shape."""
    matrix = weights.detach().double()
    fill = 0.0 if layer.fill is None else fill_of(layer, matrix)
    centred = out_in(matrix - fill, layer.transposed, layer.groups)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    s = s * torch.from_numpy(layer.kept.copy()).to(s)
    return _as_stored((u * s) @ v, weights.shape, layer) + fill
