"""Plain counting of weights, which the others have to beat."""

from __future__ import annotations

import math
from typing import Literal

from numpy.typing import ArrayLike

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    check_positive,
    require,
)
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.naive_counting import log_binomial
from prunable.certify.bounds.pruning_moments import kept_share

Counted = Literal["dense", "kept", "sketch"]


def parameter_count(facts: NetworkFacts, what: Counted, d: float | None = None) -> BoundResult:
    """Count the numbers that stand for a network, to be compared with other capacities.

    They are all weights, those that pruning left, or at strength `d` of the pruning
    d1 d2 chi ln^2(max(d1, d2)) of the sketches, as the released code of 2023 counts them.
    """
    known = what in ("dense", "kept") or (what == "sketch" and d is not None)
    require(known, "what", "parameter_count", "dense, kept, or sketch with `d`", what)
    counts = [float(layer.weights) for layer in facts.layers]
    if what == "kept":
        counts = [float(layer.pruned_kept) for layer in facts.layers]
    elif what == "sketch" and d is not None:
        counts = [layer.weights * kept_share(d) * layer.log_squared_side for layer in facts.layers]
    numbered = enumerate(zip(counts, facts.layers, strict=True), 1)
    return BoundResult(
        f"parameter count, {what}",
        tuple(Term.of(f"layer {i}", count, layer.name) for i, (count, layer) in numbered),
        SUM,
        (Assumption("the number bounds a risk", "violated", "it is a number of parameters"),),
        "plain counting",
        n=facts.n,
        quantity="capacity",
    )


def weights_bound(
    facts: NetworkFacts,
    *,
    bits: float = 32.0,
    delta: float = 0.05,
    pruned_margins: ArrayLike | None = None,
) -> BoundResult:
    """R^_0 + sqrt((d bits ln 2 + ln(1/delta)) / (2 n)), by the bits of the weights.

    Parameters
    ----------
    bits
        Of one weight; 32 makes it a statement about the very network that was trained.
    pruned_margins
        Margins of the pruned network on the training set, of which masks and kept weights are
        counted; the dense network if None.
    """
    check_positive(bits, "bits", "weights_bound")
    kept_only = pruned_margins is not None
    parts = []
    for i, layer in enumerate(facts.layers, 1):
        count = layer.weights
        if kept_only:
            count = layer.pruned_kept
            mask = log_binomial(layer.weights, count) + math.log(layer.weights + 1)
            parts.append(Term.of(f"mask {i}", mask, f"mask and count of {layer.name}"))
        values = Term.made(
            f"values {i}",
            PRODUCT,
            "values of a layer",
            Term.of("weights", count, layer.name),
            Term.of("nats", bits * math.log(2), f"{bits:g} bits a weight"),
        )
        parts.append(values)
    if facts.biases:
        parts.append(Term.of("biases", facts.biases * bits * math.log(2), f"{facts.biases} biases"))
    return counting_bound(
        facts.margins if pruned_margins is None else pruned_margins,
        Term.made("ln(J)", SUM, "nats of all weights", *parts, equation="theorem D.1"),
        delta=delta,
        name=f"parameter counting, {'kept' if kept_only else 'dense'}",
    )
