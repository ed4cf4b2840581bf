"""The one way from a pruned model and its plan to a smaller model."""

from typing import Any

from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.prune.cutting import cut_groups
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.prune.pruning import PruningResult
from prunable.nets.shrink import surgery
from prunable.nets.shrink.modules import ShrinkResult, count_parameters, kept_of
from prunable.nets.shrink.torch_pruning_backend import shrink_structurally


def shrink(
    model: nn.Module, plan: PruningPlan | PruningResult, example: Any, *, round_to: int = 1
) -> ShrinkResult:
    """Copy a model without what a plan prunes: it equals the masked one in evaluation mode.

    Coupled units, which `prune` plans where it is given an example, are cut out of any
    architecture; the model may have been trained on under its masks. Rows or columns that a plan
    zeroes one layer at a time are cut where they leave whole units superfluous, by following the
    graph, and where it cannot be followed with Torch-Pruning's help; see `surgery.shrink`.
    `round_to` rounds up the counts of such units, by zero units.

    Raises InputError if the plan or the example does not fit the model; UnsupportedModelError,
    naming the layer and the reason, if what is left would compute something else than the masked
    model on the example, beyond rounding.
    """
    if isinstance(plan, PruningResult):
        plan = plan.plan
    if not isinstance(plan, PruningPlan):
        wanted = "a plan, or what `prune` returned"
        raise InputError.parameter("plan", "shrink", wanted, type(plan).__name__)
    if plan.groups:
        if round_to != 1:
            wanted = "1 where units are coupled"
            raise InputError.parameter(
                "round_to", "shrink", wanted, round_to, "Give it to UnitPruning."
            )
        small, difference, attributes = cut_groups(model, plan.groups, example)
        before = getattr(model, "_prunable_attributes", {})
        # there even if none changed: it also says that parameters may have other shapes
        small._prunable_attributes = {  # type: ignore[assignment]
            name: {**before.get(name, {}), **attributes.get(name, {})}
            for name in {**before, **attributes}
        }
        return ShrinkResult(
            small,
            difference,
            count_parameters(model),
            count_parameters(small),
            kept_of(small),
            attributes,
        )
    units = {layer.axis for layer in plan.layers} == {"unit"}
    try:
        return _by_layer(model, plan, example, round_to, units)
    except UnsupportedModelError as error:
        if not units:
            raise
        raise UnsupportedModelError(
            f"{error} Or give `prune` the example too: coupled units then go together."
        ) from error


def _by_layer(
    model: nn.Module, plan: PruningPlan, example: Any, round_to: int, units: bool
) -> ShrinkResult:
    """Cut what zeros of single layers leave superfluous."""
    if not isinstance(example, Tensor):
        return shrink_structurally(model, plan, example)
    try:
        return surgery.shrink(model, plan, example, round_to=round_to)
    except UnsupportedModelError:
        if round_to != 1 or not units:
            raise
        return shrink_structurally(model, plan, example)
