"""Units cut out of a network, with the proof that it computes what it did with zeros there."""

import contextlib
import functools
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks import equality
from prunable.nets.networks.cutting import Sizes, Split, cut_
from prunable.nets.networks.examples import checked_run, mapped, run, uncached
from prunable.nets.networks.parametrized import plain_copy
from prunable.nets.prune.grouped import GroupPlan, kept_indices, parts_kept
from prunable.nets.prune.masks import mask_groups_

DEPTHS = (0, 1, 2)  # how far the sizes that modules remember are changed; see `cut_`
# Largest difference in double precision, relative to each output: some networks work in single
# precision inside. A wrong cut of random weights differs by shares of one.
EXACT = 1e-4
LARGEST = 500_000_000  # numbers of a network that is copied in double precision


def cut_groups(
    model: nn.Module, plans: Sequence[GroupPlan], example: Any, *, depth: int | None = None
) -> tuple[nn.Module, float, dict[str, Sizes]]:
    """Copy a model without units, in its own training mode, and prove it on an example.

    The copy, the largest |cut(example) - masked(example)| in evaluation mode and in the model's
    own precision, and the attributes that were changed. The masked model is the one in which the
    units contribute nothing: all that they are made of, and all that reads them, is zero. The
    difference is at the level of rounding if it is small beside each output, or no more than four
    times what double precision changes in the masked model's, for deep networks amplify rounding.
    `depth` is what `proved_depth` found; by default it is asked.

    Raises UnsupportedModelError if the copy does not run, or differs by more than rounding;
    InputError if the plan or the example does not fit the model.
    """
    masked = plain_copy(model)
    mask_groups_(dict(masked.named_parameters()), plans)
    with uncached(masked):
        expected = equality.tensors_in(checked_run(masked, example))
    if depth is None:
        depth, reason = proved_depth(stirred_copy(model, example), plans, example)
        if reason is not None:
            _refuse(plans, reason)
    small, attributes = _cut(model, plans, depth)
    try:
        with torch.no_grad(), uncached(small):
            found = equality.tensors_in(run(small, example))
    except Exception as error:  # the model's own code
        _refuse(plans, f"without them it does not run ({_brief(error)})", error)
    difference = equality.largest_difference(found, expected)
    noise = functools.cache(lambda: _rounding(masked, expected, example))
    if not (_all_close(found, expected, model) or difference <= 4 * noise()):
        _refuse(
            plans, f"without them its outputs differ by {difference:.3g} from the masked model's"
        )
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in small.named_modules():
        module.training = modes[name]
    return small, difference, attributes


def proved_depth(
    stirred: nn.Module, plans: Sequence[GroupPlan], example: Any
) -> tuple[int, str | None]:
    """How far remembered sizes must change for a network of random weights to stay the same.

    `stirred` is a copy with noise on all weights, so that no output is blind to what is cut; the
    example and random numbers in its place are tried. Why none will do is told beside the depth.
    """
    masked = plain_copy(stirred)
    mask_groups_(dict(masked.named_parameters()), plans)
    trials = []
    for inputs in varied_inputs(stirred, example):
        try:
            with torch.no_grad(), uncached(masked):
                outputs = equality.tensors_in(run(masked, inputs))
        except Exception:  # random numbers may be none that the model takes
            continue
        seen = [x for x in outputs if x.is_floating_point() and x.numel() and x.isfinite().any()]
        if any(bool((x[x.isfinite()] != 0).any()) for x in seen):
            trials.append((inputs, outputs))
    if not trials:
        raise InputError(
            "`example` shows nothing of the network: with noise on its weights its outputs are "
            "still zero, not finite or no floating-point tensors. Give another example."
        )
    best, reason = math.inf, None
    depth = 0
    for trial in DEPTHS if any(p.group.splits for p in plans) else (0,):
        small, _ = _cut(stirred, plans, trial)
        try:
            with torch.no_grad(), uncached(small):
                difference = max(
                    _relative(equality.tensors_in(run(small, inputs)), outputs)
                    for inputs, outputs in trials
                )
        except Exception as error:  # the model's own code
            reason = reason or f"without them it does not run ({_brief(error)})"
            continue
        if difference < best:
            best, depth = difference, trial
    precisions = (p.dtype for p in stirred.parameters() if p.is_floating_point())
    if best <= max(EXACT, *(16 * torch.finfo(dtype).eps for dtype in precisions), 0.0):
        return depth, None
    if best < math.inf:
        reason = f"without them its outputs differ by a share of {best:.2g} from the masked model's"
    return depth, reason


def stirred_copy(model: nn.Module, example: Any) -> nn.Module:
    """A copy with noise on all its weights, in the best precision in which it takes the example.

    That is double on the CPU, unless the network is large or works in one precision only.
    """
    stirred = None
    if sum(p.numel() for p in model.parameters()) <= LARGEST:
        exact = plain_copy(model).cpu().double()
        with contextlib.suppress(Exception), torch.no_grad(), uncached(exact):
            run(exact, varied_inputs(exact, example)[0])  # the model's own code
            stirred = exact
    if stirred is None:
        stirred = plain_copy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in stirred.parameters():
            if parameter.is_floating_point():
                fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 100
                noise = torch.randn(parameter.shape, generator=generator) / fan**0.5
                parameter.add_(noise.to(parameter))
    return stirred


def _cut(
    model: nn.Module, plans: Sequence[GroupPlan], depth: int
) -> tuple[nn.Module, dict[str, Sizes]]:
    small = plain_copy(model)
    splits = [Split(*parts) for plan in plans for parts in parts_kept(plan)]
    return small, cut_(small, kept_indices(plans), splits, depth)


def varied_inputs(model: nn.Module, example: Any) -> list[Any]:
    """The example and random numbers in its place, where and as precise as the model is."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    inputs = equality.exact_inputs(example)
    if first is not None:
        inputs = mapped(
            inputs, lambda x: x.to(first) if x.is_floating_point() else x.to(first.device)
        )
    generator = torch.Generator().manual_seed(0)

    def drawn(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator).to(x) if x.is_floating_point() else x

    return [inputs, mapped(inputs, drawn)]


def _relative(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference of outputs, each relative to its largest number."""
    if [x.shape for x in found] != [x.shape for x in expected]:
        return math.inf
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if other.is_floating_point() and other.numel():
            sizes = other.abs()[other.isfinite()]
            scale = float(sizes.max()) if sizes.numel() else 0.0
            worst = max(worst, equality.largest_difference([one], [other]) / (scale or 1.0))
    return worst


def _all_close(found: list[Tensor], expected: list[Tensor], model: nn.Module) -> bool:
    """Whether each output differs by no more than rounding."""
    return len(found) == len(expected) and all(
        equality.within_rounding(equality.largest_difference([one], [other]), [other], model)
        for one, other in zip(found, expected, strict=True)
    )


def _rounding(masked: nn.Module, expected: list[Tensor], example: Any) -> float:
    """How far a network's outputs are from those in double precision."""
    with uncached(masked):
        again = equality.exact_outputs(masked, example)
    difference = equality.largest_difference([x.cpu() for x in expected], again)
    return difference if math.isfinite(difference) else 0.0


def _refuse(plans: Sequence[GroupPlan], reason: str, cause: Exception | None = None) -> NoReturn:
    raise UnsupportedModelError(
        f"`{plans[0].name}` cannot be shrunk: {reason}. Leave the zeros in place, or exclude it."
    ) from cause


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:160]
