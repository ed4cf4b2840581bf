"""How many numbers of a network are not zero, before and after a plan."""

from collections.abc import Callable, Mapping

import torch

from prunable.nets.networks.views import to_numpy
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import PruningPlan
from prunable.numerics.parallel import each
from prunable.numerics.weights.magnitudes import count_nonzero


def nonzero(named: Mapping[str, torch.Tensor]) -> int:
    """How many of all numbers are not zero."""
    return sum(each(lambda p: count_nonzero(to_numpy(p)), named.values()))


def counts_around(
    named: Mapping[str, torch.Tensor],
    plan: PruningPlan,
    dry_run: bool,
    own: Callable[[], Mapping[str, torch.Tensor]],
) -> tuple[int, int]:
    """How many numbers are not zero, before and after a plan, which changes what `own` gives."""
    before = nonzero(named)
    if dry_run:
        return before, before - _lost(named, plan)
    named = own()
    apply_plan_(named.items(), plan)
    return before, nonzero(named)


def _lost(named: Mapping[str, torch.Tensor], plan: PruningPlan) -> int:
    """Numbers that are not zero now and would be."""
    names = {name for layer in plan.layers for name in layer.parameters}
    members = (m for group in plan.groups for m in group.group.members)
    names |= {member.parameter for member in members if not member.buffer}
    copies = {name: named[name].detach().clone() for name in names}
    before = nonzero(copies)
    apply_plan_(copies.items(), plan)
    return before - nonzero(copies)
