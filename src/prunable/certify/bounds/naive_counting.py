"""Plain counting of weights, masks and values, which the others have to beat.

Lemmas D.1, D.2 and D.3 of Guha, Dubey and Huo (2023), appendix D, and counting of all weights.
"""

import math
from collections.abc import Sequence
from typing import Literal

from numpy.typing import ArrayLike
from scipy.special import erf, gammaln
from scipy.stats import binom

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term
from prunable.certify.bounds.checks import check_delta, check_layers, check_positive
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.pruning_moments import GAUSSIAN, SOURCE, check_strength, kept_share
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.certify.bounds.sketch_assumptions import worth_sketching
from prunable.errors import check_at_least, require

Counted = Literal["dense", "kept", "sketch"]


def masks_bound(
    margins: ArrayLike,
    sizes: Sequence[int],
    kept: Sequence[int],
    steps: Sequence[float],
    *,
    gamma: float = 0.0,
    delta: float = 0.05,
    constant: float | None = None,
    assumptions: tuple[Assumption, ...] = (),
) -> BoundResult:
    """Bound the risk by the masks and the values of kept weights: lemma D.1.

    Sizes, kept weights and steps are one a layer; a kept weight takes 1 / rho_l values, rho_l
    inside (0, 1) the step. The rest is as in `counting_bound`.
    """
    where = "masks_bound"
    check_layers(where, sizes=sizes, kept=kept, steps=steps)
    parts = []
    for i, (size, count, step) in enumerate(zip(sizes, kept, steps, strict=True), 1):
        require(0 <= count <= size, "kept", where, f"in [0, {size}]", count)
        require(0 < step < 1, "steps", where, "inside (0, 1)", step)
        possible = f"ln C({size}, {count})"
        mask = Term.of(f"mask {i}", log_binomial(size, count), possible, "lemma D.1")
        values = Term.made(
            f"values {i}",
            PRODUCT,
            f"values of layer {i}",
            Term.of("alpha_l", count, "kept weights"),
            Term.of("ln(1/rho_l)", -math.log(step), "nats of a value"),
            equation="lemma D.1",
        )
        parts += [mask, values]
    return counting_bound(
        margins,
        Term.made("ln(J)", SUM, "nats of masks and values", *parts, equation="lemma D.1"),
        gamma=gamma,
        delta=delta,
        name="masks and values",
        statement="lemma D.1",
        constant=constant,
        assumptions=(*assumptions, rebuilt("lemma D.1")),
    )


def parameter_count(facts: NetworkFacts, what: Counted, d: float | None = None) -> BoundResult:
    """Count the numbers that stand for a network, to be compared with other capacities.

    They are all weights, those that pruning left, or at strength `d` of the pruning
    d1 d2 chi ln^2(max(d1, d2)) of the sketches, as the released code of 2023 counts them; where
    these are more than the entries, an assumption says so.
    """
    known = what in ("dense", "kept") or (what == "sketch" and d is not None)
    require(known, "what", "parameter_count", "dense, kept, or sketch with `d`", what)
    counts = [float(layer.weights) for layer in facts.layers]
    if what == "kept":
        counts = [float(layer.pruned_kept) for layer in facts.layers]
    elif what == "sketch" and d is not None:
        counts = [layer.weights * kept_share(d) * layer.log_squared_side for layer in facts.layers]
    worth = (worth_sketching(facts.layers, counts),) if what == "sketch" else ()
    numbered = enumerate(zip(counts, facts.layers, strict=True), 1)
    return BoundResult(
        f"parameter count, {what}",
        tuple(Term.of(f"layer {i}", count, layer.name) for i, (count, layer) in numbered),
        SUM,
        (
            Assumption("the number bounds a risk", "violated", "it is a number of parameters"),
            *worth,
        ),
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

    32 bits make it a statement about the very network that was trained. With margins of the pruned
    network on the training set its masks and kept weights are counted.
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


def log_binomial(n: int, k: int) -> float:
    """Natural logarithm of the binomial coefficient, never below 0."""
    return max(float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)), 0.0)


def likely_share(d: float, kappa: float) -> float:
    """Share erf(sqrt(d ln(1/kappa) / 2)) of Gaussian weights that go with `kappa` or more: (8)."""
    check_strength(d, "likely_share")
    require(0 < kappa <= 1, "kappa", "likely_share", "inside (0, 1]", kappa)
    return float(erf(math.sqrt(d * math.log(1 / kappa) / 2)))


def at_least_likely(count: int, size: int, d: float, kappa: float) -> float:
    """Probability that at least `count` of `size` weights go with kappa or more: D.2.

    I_p(count, size - count + 1), p the `likely_share`: a binomial tail.
    """
    return float(binom.sf(count - 1, size, likely_share(d, kappa)))


def at_least_pruned(alpha: int, count: int, kappa: float) -> float:
    """Probability I_kappa(alpha, count - alpha + 1) that at least `alpha` of them go: D.3."""
    return float(binom.sf(alpha - 1, count, kappa))


def most_kept(size: int, d: float, delta: float) -> BoundResult:
    """Bound the weights that pruning of strength `d` leaves, by lemmas D.2 and D.3.

    Half of `delta` is for each lemma; the law of the weights fixes the best kappa beforehand. The
    bound cannot be below the expected count, since only weights likely to go are used.
    """
    check_delta(delta, "most_kept")
    check_strength(d, "most_kept")
    check_at_least(size, 1, "size", "most_kept")
    best = (0, 1.0, 0)
    for kappa in (i / 50 for i in range(1, 50)):
        # largest count with P(at least count) >= 1 - delta/2
        count = int(binom.ppf(delta / 2, size, likely_share(d, kappa)))
        pruned = int(binom.ppf(delta / 2, count, kappa)) if count > 0 else 0
        best = max(best, (pruned, kappa, count))
    pruned, kappa, count = best
    said = f"of {count} weights pruned with probability {kappa:g} or more {pruned} go"
    return BoundResult(
        "weights that pruning leaves",
        (Term.of("d1 d2 - alpha", size - pruned, said, "lemmas D.2, D.3"),),
        SUM,
        (GAUSSIAN,),
        f"{SOURCE}, lemmas D.2 and D.3",
        delta=delta,
        quantity="count",
    )
