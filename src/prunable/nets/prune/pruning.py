"""Plan, apply, count: pruning of a model, or of a checkpoint without its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np
import torch

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView, to_numpy, views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies import Strategy
from prunable.numerics.parallel import each
from prunable.numerics.randomness import rng
from prunable.results import Result


@dataclass(frozen=True)
class PruningResult(Result):
    """What was pruned, in the model itself: its numbers, and those that are not zero."""

    copied: ClassVar[bool] = False

    plan: PruningPlan
    n_parameters: int  # of the whole network, planned or not
    n_nonzero_before: int
    n_nonzero: int

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [layer.to_dict() for layer in self.plan.layers]


def prune(
    model: torch.nn.Module | Mapping[str, torch.Tensor],
    strategy: Strategy,
    budget: Budget,
    *,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    dry_run: bool = False,
) -> PruningResult:
    """Prune a model in place, without a copy; tied parameters of a module are pruned once.

    `only` and `exclude` are names of parameters, or patterns with * and ?; exclusion wins. A
    strategy that removes units leaves the last matrix alone, whose units are the outputs, unless
    its name is given. `seed` is for strategies that draw; `force` lets a layer be pruned to
    nothing.

    Raises InputError if a pattern fits no weight matrix, weights are not finite, the budget does
    not suit the strategy, or a layer would be pruned to nothing. Then nothing is changed.
    """
    pairs = model.named_parameters() if isinstance(model, torch.nn.Module) else model.items()
    named: dict[str, torch.Tensor] = dict(pairs)
    views = _selected(named, only, exclude)
    if strategy.axis == "unit":
        inner = tuple(view for view in views if view.role != "output" or view.name in only)
        views = inner or views
    plan = strategy.plan(views, budget, rng=rng(seed, "prune"))
    if not force:
        check_not_emptied([x.name for x in plan.layers if x.n_kept == 0], "The budget")
    before = _nonzero(named)
    if not dry_run:
        apply_plan_(named.items(), plan)
    after = before - _lost(named, plan) if dry_run else _nonzero(named)
    return PruningResult(plan, sum(p.numel() for p in named.values()), before, after)


def check_not_emptied(gone: Sequence[str], what: str) -> None:
    """Raise InputError if there are layers of which `what` leaves nothing."""
    if gone:
        raise InputError(
            f"{what} leaves nothing of {', '.join(gone)}. Keep more, exclude "
            f"{'it' if len(gone) == 1 else 'them'}, or force it."
        )


def _selected(
    named: Mapping[str, torch.Tensor], only: Sequence[str], exclude: Sequence[str]
) -> tuple[WeightView, ...]:
    matrices = {
        name: p for name, p in named.items() if p.ndim >= 2 and p.is_floating_point() and p.numel()
    }
    for option, patterns in (("only", only), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in matrices):
                known = ", ".join(list(matrices)[:8]) or "none"
                raise InputError.parameter(
                    option, "prune", "the name of a weight matrix", pattern, f"There are: {known}."
                )
    chosen = [
        (name, p)
        for name, p in matrices.items()
        if any(fnmatchcase(name, x) for x in only)
        and not any(fnmatchcase(name, x) for x in exclude)
    ]
    if not chosen:
        raise InputError("`exclude` of `prune` leaves no weight matrix to prune.")
    return views_of(chosen)


def _nonzero(named: Mapping[str, torch.Tensor]) -> int:
    # NumPy counts several times faster
    return sum(each(lambda p: int(np.count_nonzero(to_numpy(p))), named.values()))


def _lost(named: Mapping[str, torch.Tensor], plan: PruningPlan) -> int:
    """Numbers that are not zero now and would be."""
    copies = {layer.name: named[layer.name].detach().clone() for layer in plan.layers}
    before = _nonzero(copies)
    apply_plan_(copies.items(), plan)
    return before - _nonzero(copies)
