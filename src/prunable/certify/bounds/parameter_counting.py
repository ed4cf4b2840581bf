"""Plain counting of weights, which the others have to beat."""

from __future__ import annotations

import math
from typing import Literal

from numpy.typing import ArrayLike

from prunable.certify.bounds.base import PRODUCT, SUM, Assumption, BoundResult, Term, check_positive
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.naive_counting import log_binomial
from prunable.certify.bounds.pruning_moments import kept_share
from prunable.errors import InputError

SOURCE = "plain counting"
Counted = Literal["dense", "kept", "sketch"]


def parameter_count(facts: NetworkFacts, what: Counted, d: float | None = None) -> BoundResult:
    """Count the numbers that stand for a network, without margins or constants.

    Parameters
    ----------
    facts : NetworkFacts
    what : {"dense", "kept", "sketch"}
        All weights, those that pruning left, or d1 d2 chi ln^2(max(d1, d2)) of the sketches as
        the released code of 2023 counts them.
    d : float, optional
        Strength of the pruning, for sketches.

    Returns
    -------
    BoundResult
        Of quantity "capacity", to be compared with other capacities.

    Raises
    ------
    InputError
        If `what` is unknown or a sketch lacks `d`.
    """
    if what == "dense":
        counts = [float(layer.weights) for layer in facts.layers]
    elif what == "kept":
        counts = [float(layer.pruned_kept) for layer in facts.layers]
    elif what == "sketch" and d is not None:
        counts = [
            layer.weights * kept_share(d) * math.log(max(layer.matrix_shape)) ** 2
            for layer in facts.layers
        ]
    else:
        raise InputError.parameter(
            "what", "parameter_count", "dense, kept, or sketch with `d`", what
        )
    terms = [
        Term.of(f"layer {i}", count, facts.layers[i - 1].name) for i, count in enumerate(counts, 1)
    ]
    return BoundResult(
        f"parameter count, {what}",
        tuple(terms),
        SUM,
        (Assumption("the number bounds a risk", "violated", "it is a number of parameters"),),
        SOURCE,
        n=facts.n,
        quantity="capacity",
    )


def weights_bound(
    facts: NetworkFacts,
    *,
    bits: float = 32.0,
    kept_only: bool = False,
    delta: float = 0.05,
    pruned_margins: ArrayLike | None = None,
) -> BoundResult:
    """Bound the risk of a network by the bits of its weights.

    Parameters
    ----------
    facts : NetworkFacts
    bits : float
        Of one weight; 32 makes it a statement about the very network that was trained.
    kept_only : bool
        Whether to count the pruned network: masks and kept weights.
    delta : float
        Failure probability.
    pruned_margins : array_like, optional
        Margins of the pruned network on the training set, for `kept_only`.

    Returns
    -------
    BoundResult
        R^_0 + sqrt((d bits ln 2 + ln(1/delta)) / (2 n)).

    Raises
    ------
    InputError
        If margins of the pruned network are missing.
    """
    check_positive(bits, "bits", "weights_bound")
    margins: ArrayLike = facts.margins
    if kept_only:
        if pruned_margins is None:
            raise InputError.parameter(
                "pruned_margins", "weights_bound", "given with `kept_only`", None
            )
        margins = pruned_margins
    parts = []
    for i, layer in enumerate(facts.layers, 1):
        count = layer.pruned_kept if kept_only else layer.weights
        if kept_only:
            mask = log_binomial(layer.weights, count) + math.log(layer.weights + 1)
            parts.append(Term.of(f"mask {i}", mask, f"mask and count of {layer.name}"))
        parts.append(
            Term.made(
                f"values {i}",
                PRODUCT,
                (
                    Term.of("weights", count, layer.name),
                    Term.of("nats", bits * math.log(2), f"{bits:g} bits a weight"),
                ),
                "values of a layer",
            )
        )
    if facts.biases:
        parts.append(Term.of("biases", facts.biases * bits * math.log(2), f"{facts.biases} biases"))
    return counting_bound(
        margins,
        Term.made("ln(J)", SUM, parts, "nats of all weights", "theorem D.1"),
        delta=delta,
        name=f"parameter counting, {'kept' if kept_only else 'dense'}",
    )
