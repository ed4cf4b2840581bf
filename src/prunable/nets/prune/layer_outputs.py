"""How far the outputs of layers move by a plan: predicted from Gram matrices, and measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from prunable.nets.networks.views import WeightView, out_in, to_numpy
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import LayerPlan, PruningPlan
from prunable.numerics.reconstruction.gram import output_error


@dataclass(frozen=True)
class LayerOutput:
    """How far the outputs of a layer move on the calibration inputs: relative l_2 errors.

    Every layer gets what the dense network sends it, or, calibrated in order, what is pruned
    before it sends; biases are left out. Towards the network, errors are to what the dense layer
    makes of what the dense network sends; means do not count there where a bias is corrected, or
    BatchNorm follows whose statistics are estimated again.
    """

    name: str  # of the weight
    masked: float  # by what is pruned alone
    predicted: float  # with what the other weights become, from the Gram matrix
    measured: float  # the same, by running the layer


def outputs_of_plan(
    plan: PruningPlan,
    views: Sequence[WeightView],
    named: Mapping[str, torch.Tensor],
    measure: Callable[[dict[str, torch.Tensor]], dict[str, float]],
) -> tuple[LayerOutput, ...]:
    """What a plan will do to the outputs of each layer that calibration inputs reach.

    `measure` gives the errors with other weights, by name, as they are found by running.
    """
    seen = [(x, v, v.gram) for x, v in zip(plan.layers, views, strict=True) if v.gram is not None]
    errors: dict[str, list[float]] = {}
    weights = {}
    for layer, view, gram in seen:
        for one in (
            replace(layer, values=None, bias=None, followers=()),
            replace(layer, bias=None, followers=()),
        ):
            weights[view.name] = with_layer(named[view.name], plan, one)
            changed = out_in(to_numpy(weights[view.name]), view.transposed, view.groups)
            error = output_error(view.matrix, changed, gram.products)
            errors.setdefault(view.name, []).append(error)
    measured = measure(weights) if weights else {}
    return tuple(
        LayerOutput(name, masked, predicted, measured[name])
        for name, (masked, predicted) in errors.items()
    )


def with_layer(weights: torch.Tensor, plan: PruningPlan, layer: LayerPlan) -> torch.Tensor:
    """A copy of a parameter as the plan of its layer makes it."""
    copy = weights.detach().clone()
    apply_plan_([(layer.name, copy)], replace(plan, layers=(layer,), groups=()))
    return copy
