"""Stable draws of accelerators: what is added to a place depends on the seed and its number alone.

Numbers of places are hashed to uniforms, known precisely near 0 and near 1 both, and these are
transformed without a branch. So one kernel draws and adds, without memory of its own, where torch
can compile one; elsewhere the same operations run one by one, on a piece at a time.
"""

import math
import warnings
from contextlib import suppress
from functools import cache
from typing import Any

import torch

PIECE = 2**22  # numbers that operations one by one are applied to at once
COMPILED = 2**22  # fewer numbers are not worth the seconds that compiling takes
HALF_PI = math.pi / 2


def _signed(number: int) -> int:
    """What 64 bits hold of a whole number, as a signed one."""
    return (number + 2**63) % 2**64 - 2**63


# splitmix64, Steele, Lea and Flood (2014): increment and multipliers; a place takes two steps
STEP, FIRST, SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
STRIDE = _signed(2 * STEP)


def add_symmetric_(
    out: torch.Tensor, alpha: float, factor: torch.Tensor, seed: int, compiled: bool | None = None
) -> None:
    """Add factors times symmetric alpha-stable draws to a contiguous tensor (rows, columns).

    Factors are (1, 1) or (rows, 1), of the type to compute in, float32 or float64. By default torch
    compiles where there are many numbers.
    """
    if compiled is None:
        compiled = out.numel() >= COMPILED
    key = torch.tensor([_signed(seed + STEP)], device=out.device)
    angles = (alpha, 2 - alpha, abs(1 - alpha), min(alpha, 2 - alpha))
    terms = [*(HALF_PI * angle for angle in angles), (1 - alpha) / alpha]
    numbers = torch.tensor(terms, dtype=factor.dtype, device=out.device)
    if compiled:
        add = _compiled(out.device.type)
        if add is not None:
            add(out, key, numbers, factor)
            return
    rows = max(1, PIECE // out.shape[1])
    for start in range(0, len(out), rows):
        some = factor if len(factor) == 1 else factor[start : start + rows]
        first = key + _signed(start * out.shape[1] * STRIDE)
        _add_(out[start : start + rows], first, numbers, some)


def positive(count: int, a: float, seed: int, like: torch.Tensor) -> torch.Tensor:
    """Positive a-stable draws with Laplace transform exp(-s^a), 0 < a < 1; Kanter (1975).

    Of the type and on the device of another tensor; the largest and smallest numbers stand for what
    lies beyond.
    """
    key = torch.tensor([_signed(seed + STEP)], device=like.device)
    near, far, _, exponential = _uniforms(key, (count,), like)

    def log_sine(share: float) -> torch.Tensor:
        # sin(share pi (1 - t)); the sine of the supplement is precise at t -> 0
        supplement = near * (share * math.pi) + (1 - share) * math.pi
        return torch.where(near < 0.5, supplement, far * (share * math.pi)).sin().log()

    exponent = (log_sine(1 - a) - exponential.log()) * ((1 - a) / a)
    exponent += log_sine(a) - log_sine(1.0) / a
    limits = torch.finfo(like.dtype)
    return exponent.clamp_(math.log(limits.tiny) + 1e-3, math.log(limits.max) - 1e-3).exp_()


def _add_(
    out: torch.Tensor, key: torch.Tensor, numbers: torch.Tensor, factor: torch.Tensor
) -> None:
    """The formula of `symmetric_from_uniforms_`, one for every alpha."""
    near, far, negative, exponential = _uniforms(key, out.shape, factor)
    around, left, turn, rest, power = numbers
    # sin(alpha phi) with phi = pi/2 (1 - t), as the sine of the supplement near the pole t -> 0
    sine = torch.where(near < 0.5, near * around + left, far * around).sin()
    cosine = (near * turn + rest).sin()
    pole = (near * HALF_PI).sin()
    logarithm = (cosine / exponential).log() - pole.log()
    limits = torch.finfo(factor.dtype)
    draws = ((logarithm * power).exp() * (sine / pole)).clamp(limits.tiny, limits.max)
    out.add_((torch.where(negative, -draws, draws) * factor).to(out.dtype))


def _uniforms(
    key: torch.Tensor, shape: tuple[int, ...], like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each place t and 1 - t in (0, 1], a sign, and a standard exponential variable."""
    place = torch.arange(math.prod(shape), device=like.device).view(shape)
    first = _hashed(place * STRIDE + key)
    near, far = _ends(first, like.dtype)
    v, w = _ends(_hashed(place * STRIDE + (key + STEP)), like.dtype)
    exponential = -torch.where(v < 0.5, v.log(), (-w).log1p())
    return near, far, first < 0, exponential


def _ends(bits: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A uniform of 63 bits, and what is missing to 1; each precise where it is small."""
    whole = bits & (2**63 - 1)
    unit = 2.0**-63
    return (whole.to(dtype) + 0.5) * unit, ((2**63 - 1 - whole).to(dtype) + 0.5) * unit


def _hashed(z: torch.Tensor) -> torch.Tensor:
    # the masks make shifts of what a sign would fill
    z = (z ^ (z >> 30 & (2**34 - 1))) * FIRST
    z = (z ^ (z >> 27 & (2**37 - 1))) * SECOND
    return z ^ (z >> 31 & (2**33 - 1))


@cache
def _compiled(device: str) -> Any:
    """The kernel that adds; None where there is no compiler for a kind of device."""
    with warnings.catch_warnings(), suppress(Exception):  # a missing compiler raises what it likes
        warnings.simplefilter("ignore")  # of torch's own modules
        add = torch.compile(_add_, dynamic=True)
        key, ones = torch.tensor([1], device=device), torch.ones(5, device=device)
        add(torch.zeros(3, 2, device=device), key, ones, ones[:1].view(1, 1))
        return add
    return None
