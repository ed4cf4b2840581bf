"""Whether two models compute the same, judged in float64 and evaluation mode."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import UnsupportedModelError
from prunable.nets.networks.examples import MISFITS, mapped, misfit, run
from prunable.nets.networks.parametrized import copied

TOLERANCE = 1e-4


def exact_outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """A model's outputs in float64, on the CPU, in evaluation mode; the model is left untouched.

    The example is what the model is called with; integers stay integers.
    """
    exact = copied(model).cpu().double().eval()
    with torch.no_grad():
        return tensors_in(run(exact, exact_inputs(example)))


def exact_inputs(example: Any) -> Any:
    """Copy an example to the CPU in the same form, floating-point tensors in float64."""
    return mapped(example, _exact)


def expected_outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """Do as `exact_outputs`, and blame the example where that fails.

    Raises InputError if the example does not fit the model; UnsupportedModelError if no tensor
    comes out, so that there is nothing to compare.
    """
    return _checked(model, example, exact_outputs)


def expected_in_own_precision(model: nn.Module, example: Any) -> list[Tensor]:
    """Do as `expected_outputs` with the model as it is: its precision, device and mode."""

    def outputs(model: nn.Module, example: Any) -> list[Tensor]:
        with torch.no_grad():
            return tensors_in(run(model, mapped(example, lambda x: x.detach().clone())))

    return _checked(model, example, outputs)


def _checked(
    model: nn.Module, example: Any, run: Callable[[nn.Module, Any], list[Tensor]]
) -> list[Tensor]:
    try:
        outputs = run(model, example)
    except MISFITS as error:
        raise misfit(model, example, error) from error
    if not outputs:
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be checked: what it returns holds no tensors that "
            "could be compared. Return tensors, in tuples, dictionaries or dataclasses."
        )
    return outputs


def tensors_in(output: Any) -> list[Tensor]:
    """List the tensors of an output made of tuples, lists, dictionaries, dataclasses, objects."""
    return _tensors_in(output, set())


def _tensors_in(output: Any, seen: set[int]) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if id(output) in seen:
        return []
    seen.add(id(output))
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        parts = [getattr(output, field.name, None) for field in fields(output)]
    elif isinstance(output, list | tuple | set | frozenset | deque):
        parts = list(output)
    else:  # an object of the user's, such as a namespace or a distribution
        modules = isinstance(output, nn.Module)
        parts = [] if modules else list(getattr(output, "__dict__", {}).values())
    return [tensor for part in parts for tensor in _tensors_in(part, seen)]


def _exact(x: Tensor) -> Tensor:
    x = x.detach().cpu()
    return (x.double() if x.is_floating_point() else x).clone()


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
