"""Plans of coupled units: what is kept of each group, for a share, an error or a cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunable.errors import InputError
from prunable.nets.networks.examples import run
from prunable.nets.networks.inputs import batch_of
from prunable.nets.networks.parametrized import plain_copy
from prunable.nets.networks.timing import interleaved_seconds
from prunable.nets.networks.views import to_numpy
from prunable.nets.prune.choices import Scope
from prunable.nets.prune.competing import Left
from prunable.nets.prune.cutting import cut_groups, proved_depth, stirred_copy
from prunable.nets.prune.grouped import Group, GroupPlan, Member, kept_indices
from prunable.nets.prune.groups import groups_of
from prunable.nets.prune.plan import Budget, Keep, LayerPlan, PruningPlan, Target
from prunable.nets.prune.sensitivity import divergences, sensitivity_plans
from prunable.nets.prune.strategies.units import UnitPruning
from prunable.nets.shrink.footprint import macs_of
from prunable.nets.shrink.modules import count_parameters
from prunable.numerics.randomness import rng as rng_of
from prunable.numerics.weights.selection import top_k_masks

Arrays = Mapping[str, NDArray[Any]]
HALVINGS = 12  # of the share of units that meets a target


@dataclass(frozen=True)
class _Arrays(Mapping[str, NDArray[Any]]):
    """Parameters as arrays, made when they are asked for: half precision is widened one by one."""

    named: Mapping[str, torch.Tensor]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return to_numpy(self.named[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)


def plan_units(
    model: nn.Module,
    strategy: UnitPruning,
    budget: Budget,
    example: Any,
    *,
    only: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    inputs: Any = None,
    rng: np.random.Generator,
) -> tuple[PruningPlan, tuple[Left, ...]]:
    """Choose coupled units of a network; the layers left alone, with the reason, beside the plan.

    A group is left out if a parameter that makes its units is excluded, or none is in `only`.
    Raises InputError if the example does not fit, or no group is left.
    """
    sensitive = isinstance(budget, Target) and budget.scope == "sensitivity"
    if sensitive != (inputs is not None):
        wanted = "given with a Target of scope sensitivity" + (
            "" if sensitive else ", and only then"
        )
        raise InputError.parameter("inputs", "prune", wanted, "none" if sensitive else "inputs")
    groups, left = _groups(model, example, only, exclude)
    weights = _Arrays(dict(model.named_parameters()))
    if isinstance(budget, Target):
        seed = int(rng.integers(2**63))
        halves = strategy.kept(groups, weights, Keep(0.5), rng=np.random.default_rng(seed))
        costs = _Costs.of(model, budget, example, halves)
        if sensitive:
            kept = _least_changed(strategy, groups, weights, budget, costs, seed, inputs)
        else:
            kept = _met(strategy, groups, weights, budget, costs, seed)
    else:
        kept = strategy.kept(groups, weights, budget, rng=rng)
    layers = tuple(_layers(model, kept, weights, budget))
    return PruningPlan(strategy.name, budget, layers, kept), left


def plans_of_units(
    model: nn.Module, strategy: UnitPruning, budgets: Sequence[Keep], example: Any, *, seed: int = 0
) -> list[PruningPlan]:
    """Plans for several shares, as `prune` makes each; groups are found once.

    Raises InputError as `plan_units` does.
    """
    groups, _ = _groups(model, example, ("*",), ())
    weights = _Arrays(dict(model.named_parameters()))
    found = []
    for budget in budgets:
        kept = strategy.kept(groups, weights, budget, rng=rng_of(seed, "prune"))
        layers = tuple(_layers(model, kept, weights, budget))
        found.append(PruningPlan(strategy.name, budget, layers, kept))
    return found


def _groups(
    model: nn.Module, example: Any, only: Sequence[str], exclude: Sequence[str]
) -> tuple[list[Group], tuple[Left, ...]]:
    """The groups that units can go of, and what is left alone; InputError if there are none."""
    found = groups_of(model, example)
    groups, left = _chosen(found.groups, only, exclude) if found.groups else ([], ())
    left = (*found.left, *left)
    if not groups:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in left[:3])
        raise InputError(
            f"`prune` finds no units that could go ({reasons}). Prune weights instead."
        )
    return groups, left


def _chosen(
    groups: Sequence[Group], only: Sequence[str], exclude: Sequence[str]
) -> tuple[list[Group], tuple[Left, ...]]:
    made = {group.name: [m.parameter for m in _makers(group)] for group in groups}
    every = [name for names in made.values() for name in names]
    for option, patterns in (("only", only), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in every):
                known = ", ".join(every[:8]) or "none"
                more = f" and {len(every) - 8} more" if len(every) > 8 else ""
                wanted = "the name of a weight that makes units which can go"
                raise InputError.parameter(
                    option, "prune", wanted, pattern, f"There are: {known}{more}."
                )
    chosen, left = [], []
    for group in groups:
        names = made[group.name]
        if any(fnmatchcase(name, x) for name in names for x in exclude):
            left.append(Left(group.name, "it is excluded"))
        elif any(fnmatchcase(name, x) for name in names for x in only):
            chosen.append(group)
    return chosen, tuple(left)


def _makers(group: Group) -> list[Member]:
    return [member for member in group.members if member.made and not member.buffer]


@dataclass(frozen=True)
class _Costs:
    """What a network costs, relative to the whole one, once plans are cut out of it."""

    model: nn.Module
    example: Any
    depth: int  # of every cut, proved once
    relative: Callable[[nn.Module], float]

    @classmethod
    def of(
        cls, model: nn.Module, target: Target, example: Any, halves: Sequence[GroupPlan]
    ) -> _Costs:
        depth, _ = proved_depth(stirred_copy(model, example), halves, example)
        return cls(model, example, depth, _relative(plain_copy(model), target, example))

    def __call__(self, plans: Sequence[GroupPlan]) -> float:
        small, _, _ = cut_groups(self.model, plans, self.example, depth=self.depth)
        return self.relative(small.eval())


def _met(
    strategy: UnitPruning,
    groups: Sequence[Group],
    weights: Arrays,
    target: Target,
    costs: _Costs,
    seed: int,
) -> tuple[GroupPlan, ...]:
    """The largest share of units at which the network, cut, costs no more than asked."""

    def at(kappa: float) -> tuple[tuple[GroupPlan, ...], float]:
        share = Keep(kappa, cast(Scope, target.scope))
        plans = strategy.kept(groups, weights, share, rng=np.random.default_rng(seed))
        return plans, costs(plans)

    low, high = 0.0, 1.0
    best, least = at(low)
    if least > target.share:
        raise _too_little(target, least)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        plans, found = at(middle)
        if found <= target.share:
            low, best = middle, plans
        else:
            high = middle
    return best


def _too_little(target: Target, least: float) -> InputError:
    return InputError.parameter(
        "share",
        f"Target of {target.cost}",
        f"at least {math.ceil(1000 * least) / 1000:g}, where one unit is left of each group",
        target.share,
        "Leave more.",
    )


def _least_changed(
    strategy: UnitPruning,
    groups: Sequence[Group],
    weights: Arrays,
    target: Target,
    costs: _Costs,
    seed: int,
    inputs: Any,
) -> tuple[GroupPlan, ...]:
    """Shares at which the outputs for unlabelled inputs should change least, for a cost."""
    scores = strategy.scores(groups, weights, rng=np.random.default_rng(seed))
    measured = divergences(costs.model, groups, scores, inputs, target.outputs)
    found = sensitivity_plans(groups, scores, measured, costs, target.share, strategy.rounded)
    if found is None:
        least = [
            GroupPlan(g, top_k_masks([score], strategy.rounded(1, g.n_units))[0])
            for g, score in zip(groups, scores, strict=True)
        ]
        raise _too_little(target, costs(least))
    return found


def _relative(model: nn.Module, target: Target, example: Any) -> Callable[[nn.Module], float]:
    """What a network costs relative to the whole one."""
    if target.cost == "parameters":
        return lambda small: count_parameters(small) / count_parameters(model)
    if target.cost == "macs":
        whole = macs_of(model, example)[""]
        return lambda small: macs_of(small, example)[""] / whole
    batch = batch_of(example, target.batch_size)

    def of_time(small: nn.Module) -> float:
        calls = {"whole": partial(run, model, batch), "cut": partial(run, small, batch)}
        with torch.no_grad():
            found = interleaved_seconds(calls)
        return float(np.median(found["cut"]) / np.median(found["whole"]))

    return of_time


def _layers(
    model: nn.Module, plans: Sequence[GroupPlan], weights: Arrays, budget: Budget
) -> list[LayerPlan]:
    """What plans of groups are for the matrices that make the units."""
    asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
    kept = kept_indices(plans)
    layers: dict[str, LayerPlan] = {}
    for plan in plans:
        for member in _makers(plan.group):
            name, weight = member.parameter, weights[member.parameter]
            if weight.ndim < 2:
                continue
            keep = kept.get(name, {}).get(member.dim, np.ones(member.size, dtype=np.bool_))
            lines = (weight.astype(np.float64) ** 2).sum(
                axis=tuple(d for d in range(weight.ndim) if d != member.dim)
            )
            groups = _groups_of_layer(model, name) if member.dim == 1 else 1
            keep = np.tile(keep, groups)
            layers[name] = LayerPlan(
                name,
                (len(keep), weight.size // len(keep)),
                "unit",
                keep,
                eps=float(np.sqrt(lines[~keep[: member.size]].sum() / (lines.sum() or 1.0))),
                kappa_asked=asked,
                taps=math.prod(weight.shape[2:]),
                transposed=member.dim == 1,
                groups=groups,
            )
    return list(layers.values())


def _groups_of_layer(model: nn.Module, parameter: str) -> int:
    owner = model.get_submodule(parameter.rpartition(".")[0])
    return int(getattr(owner, "groups", 1))
