"""What zeros of single layers leave superfluous, cut out of a model: the same in smaller."""

import contextlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError, check_at_least, require
from prunable.nets.networks.equality import check_same, exact_outputs, expected_outputs, tensors_in
from prunable.nets.networks.examples import on_device_of, run, shapes_of, watching
from prunable.nets.networks.parametrized import copied, plain_copy
from prunable.nets.networks.ties import ties_of
from prunable.nets.prune.cutting import cut_groups, varied_inputs
from prunable.nets.prune.grouped import Group, GroupPlan, Member
from prunable.nets.prune.groups import Groups, groups_of
from prunable.nets.prune.masks import apply_plan_, mask_groups_
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.shrink.modules import CONVOLUTIONS, ShrinkResult, count_parameters, kept_of

LAYERS = (nn.Linear, *CONVOLUTIONS)
CONSTANT = 1e-12  # spread of a constant channel, relative to its size

Flags = NDArray[np.bool_]


def shrink(model: nn.Module, plan: PruningPlan, example: Any, *, round_to: int = 1) -> ShrinkResult:
    """Copy a model without what a plan prunes: it equals the masked one in evaluation mode.

    What the plan zeroes is cut where whole units of `groups_of` become superfluous; zeros that the
    model held before count as well. Numbers of units are rounded up to a multiple of `round_to`,
    by zero units, and never beyond the original.

    A unit without incoming weights is constant, also behind normalisation and activations: the
    constant is read off at each linear layer or convolution that hears it and added to its bias.
    Where it is none, or is not zero and meets zero padding, which makes it differ at the borders,
    the unit stays. A unit that nobody hears goes with what makes it. Units that additions tie
    together go together. Every layer keeps at least one unit. The model is compared with the masked
    one on the example and on random numbers in its place.

    Raises InputError if the plan or the example does not fit the model, or `round_to` is below 1;
    UnsupportedModelError if the model's channels cannot be followed, or the check fails.
    """
    check_at_least(round_to, 1, "round_to", "shrink")
    filled = all(x.numel() for x in tensors_in(example))
    require(filled, "example", "shrink", "without empty tensors", shapes_of(example))
    masked = copied(model)
    apply_plan_(masked.named_parameters(), plan)
    exact = copied(masked).cpu().double()
    first, drawn = varied_inputs(exact, example)
    checks = {0: (first, expected_outputs(masked, first))}
    with contextlib.suppress(InputError):  # random numbers may be none that the model takes
        outputs = expected_outputs(masked, drawn)
        if all(bool(x.isfinite().all()) for x in outputs):
            checks[1] = (drawn, outputs)
    example = on_device_of(masked, example)
    attributes: Mapping[str, Any] = {}
    # to try every group out takes long, and what is cut is proved anyway
    for shrinkable in (False, True):
        small = plain_copy(masked)
        found = groups_of(small, example, shrinkable=shrinkable)
        plans = _superfluous_(small, found, [inputs for inputs, _ in checks.values()], round_to)
        try:
            if plans:
                small, _, attributes = cut_groups(small, plans, example)
                break
        except UnsupportedModelError:
            if shrinkable:
                raise
    else:
        _check_any(plan, found)
    difference = max(
        check_same(exact_outputs(small, inputs), outputs, small, type(model).__name__, "shrunk")
        for inputs, outputs in checks.values()
    )
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in small.named_modules():
        module.training = modes[name]
    return ShrinkResult(
        small,
        difference,
        count_parameters(model),
        count_parameters(small),
        kept_of(small),
        attributes,
    )


def _superfluous_(
    model: nn.Module, found: Groups, inputs: Sequence[Any], round_to: int
) -> list[GroupPlan]:
    """Plans without the units that can go, once what they add is moved into biases, in place."""
    parts = list(_parts(model, found))
    with torch.no_grad():
        added = _move_constants_(model, parts, inputs)
        parts = [replace(part, group=_with_biases(part.group, added)) for part in parts]
        gone = _unheard(model, parts)
    kept = [_rounded(~units, round_to) for units in gone]
    return [GroupPlan(p.group, k) for p, k in zip(parts, kept, strict=True) if not k.all()]


def _check_any(plan: PruningPlan, found: Groups) -> None:
    """Say why nothing is cut, if that is because the units of planned layers all stay."""
    reasons = {one.name: one.reason for one in found.left}
    for layer in plan.layers:
        name = layer.name.rpartition(".")[0]
        if layer.axis == "unit" and not layer.kept.all() and name in reasons:
            raise UnsupportedModelError(
                f"`{name}` cannot be shrunk: {reasons[name]}. Leave the zeros in place, or change "
                "the model."
            )


@dataclass(frozen=True, eq=False)
class _Part:
    """A group of units, the layers that read them by name, and the units that must stay."""

    group: Group
    readers: tuple[tuple[str, Member], ...]
    stays: Flags


def _parts(model: nn.Module, found: Groups) -> Iterator[_Part]:
    every = dict(model.named_parameters(remove_duplicate=False))
    ties = ties_of(every)
    tied = {*ties, *ties.values()}
    for group in found.groups:
        readers = []
        heard, stays = np.zeros(group.n_units, dtype=bool), np.zeros(group.n_units, dtype=bool)
        for member in group.members:
            if member.buffer:
                continue
            owner, _, own = member.parameter.rpartition(".")
            module: Any = model.get_submodule(owner)
            plain = type(module) in LAYERS and own == "weight"
            groups = getattr(module, "groups", 1)
            if member.parameter in tied:
                stays[member.units] = True
            elif plain and member.dim == 1 and groups == 1 and f"{owner}.bias" not in tied:
                readers.append((owner, member))
                heard[member.units] = True
            elif not (member.made or every[member.parameter].ndim < 2):
                depthwise = plain and member.dim == 0 and groups == module.in_channels
                stays[member.units] |= not depthwise
        yield _Part(group, tuple(readers), stays | ~heard)


def _move_constants_(model: nn.Module, parts: Sequence[_Part], inputs: Sequence[Any]) -> set[str]:
    """Add what units of zero weights put out to the biases that follow, until there are no more.

    The layers that had no bias before are returned.
    """
    added: set[str] = set()
    done = [part.stays for part in parts]
    while True:
        places: dict[str, list[NDArray[np.int64]]] = {}
        for number, part in enumerate(parts):
            makers = [m for m in part.group.members if m.made and not m.buffer]
            silent = _empty(model, makers, len(part.stays)) & ~done[number]
            done[number] = done[number] | silent
            for name, member in part.readers:
                if silent[member.units].any():
                    places.setdefault(name, []).append(member.places[silent[member.units]])
        if not places:
            return added
        for name, given in _given(model, places, inputs).items():
            module: Any = model.get_submodule(name)
            bias = module.bias
            _shift_(module, torch.from_numpy(np.concatenate(places[name])), given)
            if module.bias is not bias and bias is None:
                added.add(name)


def _with_biases(group: Group, added: Collection[str]) -> Group:
    """A group with the new biases of layers that make its units."""
    more = [
        replace(member, parameter=f"{name}.bias", made=False)
        for member in group.members
        for name, _, own in [member.parameter.rpartition(".")]
        if member.made and own == "weight" and name in added
    ]
    return replace(group, members=(*group.members, *more))


def _empty(model: nn.Module, members: Sequence[Member], n_units: int) -> Flags:
    """Units for which all numbers of some members are zero."""
    empty = np.ones(n_units, dtype=bool)
    for member in members:
        lines = model.get_parameter(member.parameter).detach().movedim(member.dim, 0).flatten(1)
        zero = (lines == 0).all(1).cpu().numpy()
        np.logical_and.at(empty, member.units, zero[member.places])
    return empty


def _given(
    model: nn.Module, names: Collection[str], inputs: Sequence[Any]
) -> dict[str, list[Tensor]]:
    """What layers are given, in float64, in all calls."""
    exact = copied(model).cpu().double()
    layers = {exact.get_submodule(name): name for name in names}
    given: dict[str, list[Tensor]] = {name: [] for name in names}
    with watching(exact, layers, lambda layer, x: given[layers[layer]].append(x.clone())):
        for one in inputs:
            run(exact, one)
    return given


def _shift_(module: Any, columns: Tensor, given: Sequence[Tensor]) -> None:
    """Move inputs of a layer that are constant in all that it is given into its bias."""
    weight = module.weight
    lines = [x.movedim(x.ndim - weight.ndim + 1, 0)[columns] for x in given if x.numel()]
    if not lines:
        return
    values = torch.cat([x.reshape(len(columns), -1) for x in lines], 1)
    low, high = values.amin(1), values.amax(1)
    fixed = high - low <= CONSTANT * (1 + high.abs())
    if _pads_with_zeros(module):
        fixed &= values.eq(0).all(1)
    columns = columns[fixed].to(weight.device)
    taps = weight[:, columns].cpu().double().unsqueeze(-1).flatten(2).sum(2)
    shift = taps @ high[fixed]
    if shift.any():
        old = module.bias
        bias = (shift if old is None else old.cpu().double() + shift).to(weight)
        grad = (weight if old is None else old).requires_grad
        module.bias = nn.Parameter(bias, requires_grad=grad)
    weight.index_fill_(1, columns, 0)


def _pads_with_zeros(module: Any) -> bool:
    """Whether a layer sees zeros beyond the borders of its input."""
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros":
        return False
    if module.padding == "same":
        return any(size > 1 for size in module.kernel_size)
    return module.padding != "valid" and any(module.padding)


def _unheard(model: nn.Module, parts: Sequence[_Part]) -> list[Flags]:
    """Units that no layer hears; their makers are zeroed, so that what only these hear goes too."""
    gone = [np.zeros_like(part.stays) for part in parts]
    while True:
        found = [
            _empty(model, [m for _, m in part.readers], len(part.stays)) & ~part.stays
            for part in parts
        ]
        if all(map(np.array_equal, found, gone)):
            return gone
        gone = found
        plans = [GroupPlan(part.group, ~units) for part, units in zip(parts, gone, strict=True)]
        mask_groups_(dict(model.named_parameters()), plans)


def _rounded(kept: Flags, round_to: int) -> Flags:
    """Add units up to a multiple, and at least one."""
    count = int(kept.sum())
    target = min(len(kept), max(1, math.ceil(count / round_to)) * round_to)
    more = np.flatnonzero(~kept)[: target - count]
    return kept | np.isin(np.arange(len(kept)), more)
