"""Units cut out of a network, with the proof that it computes what it did with zeros there."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import UnsupportedModelError
from prunable.nets.networks.cutting import Sizes, Split, cut_
from prunable.nets.networks.equality import (
    exact_outputs,
    largest_difference,
    tensors_in,
    within_rounding,
)
from prunable.nets.networks.examples import MISFITS, checked_run, run
from prunable.nets.networks.parametrized import plain_copy
from prunable.nets.prune.grouped import GroupPlan, kept_indices, parts_kept
from prunable.nets.prune.masks import mask_groups_

DEPTHS = (0, 1, 2)  # how far the sizes that modules remember are changed; see `cut_`


def cut_groups(
    model: nn.Module, plans: Sequence[GroupPlan], example: Any
) -> tuple[nn.Module, float, dict[str, Sizes]]:
    """Copy a model without units, in its own training mode, and prove it on an example.

    The copy, the largest |cut(example) - masked(example)| in evaluation mode and in the model's
    own precision, and the attributes that were changed. The masked model is the one in which the
    units contribute nothing: all that they are made of, and all that reads them, is zero. The
    difference is at the level of rounding if it is small beside the outputs, or no more than four
    times what double precision changes in the masked model's, for deep networks amplify rounding.

    Raises UnsupportedModelError if the copy does not run, or differs by more than rounding.
    """
    masked = plain_copy(model)
    mask_groups_(dict(masked.named_parameters()), plans)
    expected = tensors_in(checked_run(masked, example))
    noise = functools.cache(lambda: _rounding(masked, expected, example))
    reason = ""
    for depth in DEPTHS if any(p.group.splits for p in plans) else (0,):
        small = plain_copy(model)
        splits = [Split(*parts) for plan in plans for parts in parts_kept(plan)]
        attributes = cut_(small, kept_indices(plans), splits, depth)
        try:
            with torch.no_grad():
                found = tensors_in(run(small, example))
        except MISFITS as error:
            reason = reason or f"without them it does not run ({_brief(error)})"
            continue
        difference = largest_difference(found, expected)
        if within_rounding(difference, expected, model) or difference <= 4 * noise():
            modes = {name: module.training for name, module in model.named_modules()}
            for name, module in small.named_modules():
                module.training = modes[name]
            return small, difference, attributes
        reason = f"without them its outputs differ by {difference:.3g} from the masked model's"
    raise UnsupportedModelError(
        f"`{plans[0].name}` cannot be shrunk: {reason}. Leave the zeros in place, or exclude it."
    )


def _rounding(masked: nn.Module, expected: list[Tensor], example: Any) -> float:
    """How far a network's outputs are from those in double precision, in place."""
    again = exact_outputs(masked, example)
    difference = largest_difference([x.cpu() for x in expected], again)
    return difference if math.isfinite(difference) else 0.0


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:160]
