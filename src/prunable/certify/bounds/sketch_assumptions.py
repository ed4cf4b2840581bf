"""Conditions of theorem 5.2 of Guha, Dubey and Huo (2023), checked on a network."""

import math
from collections.abc import Sequence

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import GAUSSIAN, kept_share
from prunable.certify.bounds.spectral_perturbation import contractions_of

GAUSSIAN_ERRORS = 5.0
# The statement's margin is too small by sqrt(2).
MARGINS_MOVE = Assumption(
    "margins move by at most gamma if logits move by gamma",
    "violated",
    "they can move by sqrt(2) gamma",
    math.log(2) / 2,
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


def worth_sketching(facts: NetworkFacts, d: float, factor: float) -> Assumption:
    """Whether sketches hold fewer numbers than their layers."""
    widest = max(layer.log_squared_side for layer in facts.layers)
    return at_most(
        "a sketch is smaller than its layer: factor * chi * ln^2(p) < 1",
        safe_log(factor * kept_share(d) * widest),
        0.0,
        "numbers of the sketch for each weight",
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
