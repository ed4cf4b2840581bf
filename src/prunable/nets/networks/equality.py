"""Whether two models compute the same, judged in float64 and evaluation mode."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError

TOLERANCE = 1e-4


def exact_outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """A model's outputs in float64, on the CPU, in evaluation mode; the model is left untouched.

    The example is its input or a tuple of inputs; integers stay integers.
    """
    exact = copy.deepcopy(model).cpu().double().eval()
    with torch.no_grad():
        return tensors_in(exact(*exact_inputs(example)))


def exact_inputs(example: Any) -> tuple[Tensor, ...]:
    """Copy one or more inputs to the CPU, floating-point ones in float64."""
    inputs = example if isinstance(example, tuple) else (example,)
    return tuple(
        (x.detach().cpu().double() if x.is_floating_point() else x.detach().cpu()).clone()
        for x in inputs
    )


def expected_outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """Do as `exact_outputs`, and blame the example where that fails.

    Raises InputError if the example does not fit the model.
    """
    try:
        return exact_outputs(model, example)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        inputs = example if isinstance(example, tuple) else (example,)
        shapes = ", ".join(str(tuple(getattr(x, "shape", ()))) for x in inputs)
        raise InputError(f"`example` of shape {shapes} does not fit the model: {error}") from error


def tensors_in(output: Any) -> list[Tensor]:
    """List the tensors of an output made of tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return (
        [t for part in output for t in tensors_in(part)] if isinstance(output, list | tuple) else []
    )


def largest_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest |found - expected| over all outputs; infinite if their shapes differ.

    Equal infinities and two NaN differ by 0; a NaN and a number by NaN, which no tolerance
    admits.
    """
    if [x.shape for x in found] != [x.shape for x in expected]:
        return math.inf
    differences = [0.0]
    for one, other in zip(found, expected, strict=True):
        if one.numel():
            same = (one == other) | (one.isnan() & other.isnan())
            apart = (one.double() - other.double()).abs().masked_fill(same, 0.0)
            differences.append(float(apart.max()))
    return math.nan if any(map(math.isnan, differences)) else max(differences)


def within_rounding(difference: float, expected: list[Tensor], model: nn.Module) -> bool:
    """Tell whether a largest difference of outputs is no more than rounding makes.

    The outputs expected set the scale, the model's least precise parameters the tolerance, at
    least 1e-4.
    """
    sizes = [x.double().abs()[x.isfinite()] for x in expected]
    scale = max((float(x.max()) for x in sizes if x.numel()), default=0.0) or 1.0
    precisions = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    return difference <= max([TOLERANCE, *(8 * eps for eps in precisions)]) * scale


def check_same(
    found: list[Tensor], expected: list[Tensor], model: nn.Module, name: str, done: str
) -> float:
    """The largest difference of outputs, where it is no more than rounding; see `within_rounding`.

    Raises UnsupportedModelError if it is more. `name` is the layer or model to blame, `done` what
    was tried, completing "cannot be ...".
    """
    difference = largest_difference(found, expected)
    if not within_rounding(difference, expected, model):
        how = f"differs by {difference:.3g} from"
        if [x.shape for x in found] != [x.shape for x in expected]:
            how = "has another shape than"
        raise UnsupportedModelError(
            f"`{name}` cannot be {done}: the output {how} the masked model's. Leave the zeros in "
            "place."
        )
    return difference
