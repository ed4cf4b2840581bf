"""Conditions of theorem 5.2 of Guha, Dubey and Huo (2023), checked on a network."""

import math
from collections.abc import Sequence

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.counting import MARGIN_PER_NORM
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import GAUSSIAN
from prunable.certify.bounds.spectral_perturbation import contractions_of

GAUSSIAN_ERRORS = 5.0
# The statement's margin is too small by sqrt(2), since its gamma bounds the norm of the change.
MARGINS_MOVE = Assumption(
    "margins move by at most gamma if the vector of logits moves by gamma",
    "violated",
    "they can move by sqrt(2) gamma; by 2 gamma if gamma is what each logit may move, as in "
    "theorem 3.1",
    math.log(MARGIN_PER_NORM),
    "factor",
)


def gaussian(layers: Sequence[LayerFacts]) -> Assumption:
    """Whether weights look Gaussian about zero (assumption 3.1), by kurtosis and mean.

    It is violated if a layer's excess kurtosis, or its mean, is off by 5 standard errors. For
    Gaussian weights that happens to one layer of a million.
    """

    def off(layer: LayerFacts) -> float:
        kurtosis = abs(layer.excess_kurtosis) / math.sqrt(24 / layer.weights)
        if layer.variance == 0:
            return math.inf
        return max(kurtosis, abs(layer.mean) / math.sqrt(layer.variance / layer.weights))

    worst = max(layers, key=off)
    said = (
        f"{worst.name}: excess kurtosis {worst.excess_kurtosis:.3g}, mean "
        f"{worst.mean:.3g} at deviation {math.sqrt(worst.variance):.3g}; {off(worst):.3g} standard "
        "errors from Gaussian"
    )
    if off(worst) > GAUSSIAN_ERRORS:
        return Assumption(GAUSSIAN.name, "violated", said, off(worst) - GAUSSIAN_ERRORS)
    return Assumption(GAUSSIAN.name, "unchecked", f"{said}; independence cannot be checked")


def smallest_margin(facts: NetworkFacts) -> Assumption:
    """Whether any strength of pruning is allowed at all."""
    lowest = float(facts.margins.min())
    name = "the smallest training margin is positive"
    return Assumption.decided(lowest > 0, name, f"{lowest:.4g}", -lowest)


def worth_sketching(layers: Sequence[LayerFacts], numbers: Sequence[float]) -> Assumption:
    """Whether sketches of so many numbers, one a layer, hold fewer than their layers' entries.

    A matrix is its own sketch, with A and B the identity: more numbers than entries count more
    than there is.
    """
    entries = [math.prod(layer.matrix_shape) for layer in layers]
    ratios = [count / size for count, size in zip(numbers, entries, strict=True)]
    i = max(range(len(layers)), key=ratios.__getitem__)
    return at_most(
        "a sketch holds fewer numbers than its layer has entries",
        safe_log(ratios[i]),
        0.0,
        f"{layers[i].name}: {numbers[i]:.6g} numbers for {entries[i]:,} entries, in all "
        f"{math.fsum(numbers):.6g} for {sum(entries):,}; numbers an entry",
        strict=True,
    )


def contracts(facts: NetworkFacts, failure: float) -> Assumption | None:
    """Compare the contraction that lemma C.1 claims with what training inputs show."""
    claimed = contractions_of(facts, failure=failure)
    if min(claimed) == 1:
        return None
    name = "layers that narrow contract training inputs (condition C.1)"
    shown = [
        (layer.contraction / factor, factor, layer.name)
        for layer, factor in zip(facts.layers, claimed, strict=True)
        if factor < 1 and layer.contraction is not None
    ]
    if not shown:
        return Assumption(name, "unchecked", "the layers' inputs were not given")
    ratio, factor, worst = max(shown, key=lambda entry: entry[0])
    said = f"max ||Ax||/(||A|| ||x||) of {worst}"
    return at_most(name, safe_log(ratio * factor), math.log(factor), said)


def no_step(layers: Sequence[LayerFacts], errors: Sequence[float], depth: int) -> Assumption:
    """A layer changes too much for any rounding: lemma 4.4."""

    def excess(i: int) -> float:
        return safe_log(errors[i]) - safe_log(layers[i].spectral / depth)

    worst = max(range(len(layers)), key=excess)
    return Assumption(
        "error of a layer at most ||A_l||/L, so that a step rho_l > 0 exists",
        "violated",
        f"{layers[worst].name}: {errors[worst]:.4g}, needed < {layers[worst].spectral / depth:.4g}",
        excess(worst),
        "factor",
    )
