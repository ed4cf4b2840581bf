"""The one way from a pruned model and its plan to a smaller model."""

from typing import Any

from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, UnsupportedModelError, require
from prunable.nets.prune.cutting import cut_groups
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.prune.pruning import PruningResult
from prunable.nets.shrink import surgery
from prunable.nets.shrink.modules import ShrinkResult, count_parameters, kept_of


@checked("shrink")
def shrink(
    model: nn.Module, plan: PruningPlan | PruningResult, example: Any, *, round_to: int = 1
) -> ShrinkResult:
    """Copy a model without what a plan prunes: it equals the masked one in evaluation mode.

    Coupled units, which `prune` plans where it is given an example, are cut out of any
    architecture; the model may have been trained on under its masks. Rows or columns that a plan
    zeroes one layer at a time are cut where they leave whole units superfluous; see
    `surgery.shrink`. `round_to` rounds up the counts of such units, by zero units.

    Raises InputError if the plan or the example does not fit the model; UnsupportedModelError,
    naming the layer and the reason, if what is left would compute something else than the masked
    model on the example, beyond rounding.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    >>> example, units = torch.zeros(1, 8), prunable.strategies.UnitPruning()
    >>> pruned = prunable.prune(net, units, prunable.budgets.Keep(0.5), example=example)
    >>> prunable.shrink(net, pruned, example).model
    Sequential(
      (0): Linear(in_features=8, out_features=32, bias=True)
      (1): ReLU()
      (2): Linear(in_features=32, out_features=2, bias=True)
    )
    """
    if isinstance(plan, PruningResult):
        plan = plan.plan
    if not isinstance(plan, PruningPlan):
        wanted = "a plan, or what `prune` returned"
        raise InputError.parameter("plan", "shrink", wanted, type(plan).__name__)
    if plan.groups:
        wanted = "1 where units are coupled"
        require(round_to == 1, "round_to", "shrink", wanted, round_to, "Give it to UnitPruning.")
        small, difference, attributes = cut_groups(model, plan.groups, example)
        counts = count_parameters(model), count_parameters(small)
        result = ShrinkResult(small, difference, *counts, kept_of(small), attributes)
    else:
        try:
            result = surgery.shrink(model, plan, example, round_to=round_to)
        except UnsupportedModelError as error:
            if {layer.axis for layer in plan.layers} != {"unit"}:
                raise
            raise UnsupportedModelError(
                f"{error} Or give `prune` the example too: coupled units then go together."
            ) from error
    if plan.groups or result.attributes:
        before = getattr(model, "_prunable_attributes", {})
        # there even if none changed: it also says that parameters may have other shapes
        result.model._prunable_attributes = {  # type: ignore[assignment]
            name: {**before.get(name, {}), **result.attributes.get(name, {})}
            for name in {**before, **result.attributes}
        }
    return result
