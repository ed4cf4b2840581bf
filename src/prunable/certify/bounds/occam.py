"""Occam bound: the risk of one network from its training errors and the length of its file.

A prefix code fixed before the data gives every network h a length L(h) with
sum 2^-L(h) <= 1. The union of the exact binomial tails at delta 2^-L(h) holds for all
networks together, so also for the one that training chose. There is no 2 sqrt(n): that
factor belongs to averages over a posterior.

Source: Blumer, Ehrenfeucht, Haussler and Warmuth (1987); Langford 2005, Theorem 4.6.
"""

from __future__ import annotations

import math

from prunable.certify.bounds.base import PRODUCT, SUM, Assumption, BoundResult, Term, check_delta
from prunable.certify.bounds.binomial import (
    BINOMIAL_INVERSION,
    KL_INVERSION,
    binomial_upper,
    check_counts,
    log_binomial_cdf,
)
from prunable.errors import InputError

SOURCE = "Langford 2005, Theorem 4.6 (Blumer et al. 1987)"
_MOST_EXAMPLES = 10**15
ASSUMPTIONS = (
    Assumption(
        "the examples are independent draws of one law",
        "unchecked",
        "no computation on the sample can prove it",
    ),
    Assumption(
        "the code is a prefix code fixed before the data",
        "holds",
        "the decoder accepts the encoder's own bytes only, and its rules hold no data",
    ),
)


def occam_bound(
    errors: int,
    n: int,
    bits: float,
    delta: float,
    *,
    form: str = "binomial",
    saving: float = 0.0,
    about: str = "",
) -> BoundResult:
    """Bound the risk of a deterministic network by the length of its code.

    Parameters
    ----------
    errors, n : int
        Training errors among `n` examples.
    bits : float
        Length of the code that decodes to the network, >= 0.
    delta : float
        Probability that the bound fails, in (0, 1).
    form : {"binomial", "kl"}
        Exact tail, or its Chernoff form, which is a little larger.
    saving : float
        log2 of a lower bound on the number of codes of at most `bits` bits that decode to
        the same function, see `permutation_saving`; 0 <= saving <= bits.
    about : str
        Which network.

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If counts are impossible, `bits` negative or not finite, or `delta` outside (0, 1).
    """
    check_counts(errors, n, "occam_bound")
    check_delta(delta, "occam_bound")
    if not 0 <= bits < math.inf:
        raise InputError.parameter("bits", "occam_bound", "finite and at least 0", bits)
    if not 0 <= saving <= bits:
        raise InputError.parameter("saving", "occam_bound", "in [0, bits]", saving)
    if form not in ("binomial", "kl"):
        raise InputError.parameter("form", "occam_bound", "binomial or kl", form)
    length = Term.of("L", bits - saving, _length_meaning(bits, saving))
    ln2 = Term.of("ln 2", math.log(2), "nats in a bit")
    cost = Term.made(
        "c",
        SUM,
        [
            Term.made("L ln 2", PRODUCT, [length, ln2], "description of the network, nats"),
            Term.of("ln(1/delta)", -math.log(delta), "confidence, nats"),
        ],
        "nats to pay",
    )
    exact = form == "binomial"
    first = (
        Term.of("k", errors, "errors on the training set")
        if exact
        else Term.of("r", errors / n, "training error")
    )
    name = "Occam, code length" + (" less permutations" if saving else "")
    return BoundResult(
        name=name if exact else f"{name}, kl form",
        terms=(first, Term.of("n", n, "training examples"), cost),
        rule=BINOMIAL_INVERSION if exact else KL_INVERSION,
        assumptions=ASSUMPTIONS,
        source=SOURCE,
        n=n,
        delta=delta,
        about=about,
    )


def _length_meaning(bits: float, saving: float) -> str:
    if not saving:
        return "length of the code, bits"
    return f"length of the code, {bits:g} bits, less {saving:.1f} for orders of hidden units"


def permutation_saving(hidden: list[list[int]]) -> float:
    """log2 of the number of distinct networks that permuting hidden units makes of one.

    All of them compute the same function, and a code that does not see the order of units
    gives each the same length, so the prior mass of the function is their number times that
    of one of them.

    Parameters
    ----------
    hidden : list of list of int
        For each hidden layer, how many units share each set of incoming weights; their sum
        is the number H of units. Only units with the same incoming weights can be exchanged
        without changing the network, so that the number is at least the product over layers
        of H! / prod(multiplicity!).

    Returns
    -------
    float
        Bits.
    """
    nats = 0.0
    for multiplicities in hidden:
        if any(m < 1 for m in multiplicities):
            raise InputError.parameter(
                "hidden", "permutation_saving", "counts of at least 1", multiplicities
            )
        nats += math.lgamma(sum(multiplicities) + 1)
        nats -= math.fsum(math.lgamma(m + 1) for m in multiplicities)
    return nats / math.log(2)


def bits_allowed(errors: int, n: int, delta: float, target: float) -> float | None:
    """Longest code with which these training errors are certified below `target`.

    Parameters
    ----------
    errors, n : int
    delta : float
    target : float
        Risk in (0, 1).

    Returns
    -------
    float or None
        Bits; None if not even a code of no bits is enough.
    """
    check_counts(errors, n, "bits_allowed")
    check_delta(delta, "bits_allowed")
    _check_target(target, "bits_allowed")
    bits = (-log_binomial_cdf(errors, n, target) + math.log(delta)) / math.log(2)
    return bits if bits >= 0 and errors / n < target else None


def examples_needed(rate: float, bits: float, delta: float, target: float) -> int | None:
    """Fewest examples with which a training error and a code length certify `target`.

    Parameters
    ----------
    rate : float
        Training error, taken to stay the same.
    bits : float
    delta : float
    target : float
        Risk in (0, 1).

    Returns
    -------
    int or None
        Examples; None if the training error is not below the target.
    """
    check_delta(delta, "examples_needed")
    _check_target(target, "examples_needed")
    if rate >= target:
        return None

    def enough(n: int) -> bool:
        log_delta = math.log(delta) - bits * math.log(2)
        return binomial_upper(math.ceil(rate * n), n, log_delta) <= target

    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST_EXAMPLES:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def dense_through_compression(
    compressed: BoundResult, disagreements: int, n: int, delta: float
) -> BoundResult:
    """Bound the risk of a dense network through a certified compression of it.

    The dense network errs only where its compression errs or the two disagree, and
    disagreement is counted on fresh inputs, which need no labels.

    Parameters
    ----------
    compressed : BoundResult
        Risk bound of the compressed network.
    disagreements, n : int
        Inputs on which the two networks differ, among `n` that served no training.
    delta : float
        Probability that the part about disagreement fails, in (0, 1).

    Returns
    -------
    BoundResult
        Sum of the two; fails with probability at most the sum of both deltas.
    """
    check_counts(disagreements, n, "dense_through_compression")
    check_delta(delta, "dense_through_compression")
    parts = (
        Term.of("k", disagreements, "fresh inputs on which the networks differ"),
        Term.of("m", n, "fresh inputs"),
        Term.of("ln(1/delta)", -math.log(delta), "confidence, nats"),
    )
    return BoundResult(
        name="code length and disagreement",
        terms=(
            Term.of(
                "R(g)", compressed.value, f"bound of the compressed network: {compressed.name}"
            ),
            Term.made("P(f != g)", BINOMIAL_INVERSION, parts, "disagreement, at most"),
        ),
        rule=SUM,
        assumptions=(
            *compressed.assumptions,
            Assumption(
                "the fresh inputs are independent draws that served no choice",
                "unchecked",
                "no computation can see it",
            ),
        ),
        source=f"union bound; {compressed.source}",
        n=compressed.n,
        delta=delta + (compressed.delta or 0.0),
        about="dense network",
    )


def _check_target(target: float, where: str) -> None:
    if not 0 < target < 1:
        raise InputError.parameter("target", where, "a risk in (0, 1)", target)
