"""Checks of a forecast's assumptions, which can fail, and refusals of what is no input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.checks import real_array

LEAST_INPUTS = 30
# Networks trained in usual ways have temperatures from .6 (labels smoothed) to 2.5.
PLAUSIBLE = (1 / 3, 3.0)


@dataclass(frozen=True)
class Check:
    """One assumption of a forecast, and whether what can be seen contradicts it."""

    name: str
    passed: bool
    text: str


def check_logits(values: ArrayLike, param: str, where: str, dimensions: int = 2) -> FloatArray:
    """Check finite logits that vary, of so many dimensions; return them in float64."""
    array = real_array(values, param, where)
    require(
        array.ndim == dimensions and array.size > 0,
        param,
        where,
        f"an array of {dimensions} dimensions",
        f"the shape {array.shape}",
    )
    n = len(array)
    require(
        n >= LEAST_INPUTS,
        param,
        where,
        f"of at least {LEAST_INPUTS} inputs",
        f"{n}",
        "An interval from fewer means nothing.",
    )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).reshape(n, -1).all(1)).sum())
        raise InputError.parameter(
            param,
            where,
            "finite",
            f"NaN or infinity for {bad} of {n} inputs",
            "Run the network on one of them in float32.",
        )
    return array.astype(np.float64)


def check_vary(dense: FloatArray, where: str) -> None:
    """Refuse outputs that are the same for every input."""
    if np.all(dense == dense[:1]):
        raise InputError.parameter(
            "dense",
            where,
            "different for different inputs",
            "the same output for all of them",
            "Are the inputs constant, or not normalised as in training?",
        )


def check_accuracy(accuracy: object, chance: float, where: str) -> float:
    """Check an accuracy: a share above chance, not per cent."""
    number = isinstance(accuracy, int | float | np.floating) and not isinstance(accuracy, bool)
    require(number, "accuracy", where, "a number between 0 and 1", accuracy)
    share = float(accuracy)  # type: ignore[arg-type]
    if 1 < share <= 100:
        asked = f"Did you mean {share / 100:.4g}?"
        raise InputError.parameter("accuracy", where, "a share, not per cent", accuracy, asked)
    require(
        math.isfinite(share) and 0 <= share <= 1,
        "accuracy",
        where,
        "a number between 0 and 1",
        accuracy,
    )
    require(
        share > chance,
        "accuracy",
        where,
        f"above chance, {chance:.4g}",
        f"{share:.4g}",
        "A network that knows nothing has nothing to lose.",
    )
    return share


def check_labels(labels: ArrayLike, n: int, classes: int, where: str) -> NDArray[np.intp]:
    """Check labels (n,): whole numbers below `classes`; -1, None or NaN where unknown."""
    listed = [-1 if label is None else label for label in np.asarray(labels, dtype=object).ravel()]
    try:
        numbers = np.array(listed, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError.parameter(
            "labels",
            where,
            "whole numbers, -1 where unknown",
            f"{next(x for x in listed if not isinstance(x, int | float))!r}",
        ) from error
    numbers[np.isnan(numbers)] = -1
    shape = np.shape(labels)
    require(shape == (n,), "labels", where, f"of shape ({n},)", f"the shape {shape}")
    bad = (numbers != np.round(numbers)) | (numbers < -1) | (numbers >= classes)
    require(
        not bad.any(),
        "labels",
        where,
        f"classes from 0 to {classes - 1}, -1 where unknown",
        f"{numbers[bad][0]:g}" if bad.any() else "",
        "Labels may be numbered from 1, or be those of other inputs.",
    )
    return numbers.astype(np.intp)


def check_all(
    confidence: FloatArray, temperature: float | None, accuracy: float | None, chance: float
) -> tuple[Check, ...]:
    """What is seen of the assumptions without labels; `confidence` (n,) is at temperature 1."""
    n, mean = len(confidence), float(confidence.mean())
    found = [
        Check(
            "enough inputs",
            n >= 100,
            f"{n} inputs"
            + ("" if n >= 100 else ": the interval is wide, and normal only roughly; give 100"),
        )
    ]
    if accuracy is not None and temperature is not None:
        low, high = PLAUSIBLE
        fits = low <= temperature <= high
        seen = f"mean confidence {mean:.3f}, accuracy {accuracy:.3f}"
        found.append(
            Check(
                "plausible temperature",
                fits,
                f"{seen}: temperature {temperature:.2f}"
                + (
                    ""
                    if fits
                    else f", outside {low:.2f} to {high:.2f}: the inputs are not like those the "
                    "accuracy was measured on, or the confidence is badly ordered"
                ),
            )
        )
        least = chance + 0.1 * (1 - chance)
        found.append(
            Check(
                "far from chance", accuracy > least, f"accuracy {accuracy:.3f}, chance {chance:.3f}"
            )
        )
    return tuple(found)
