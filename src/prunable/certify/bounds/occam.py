"""Occam bound: the risk of one network from its training errors and the length of its file.

A prefix code fixed before the data gives every network h a length L(h) with
sum 2^-L(h) <= 1. The union of the exact binomial tails at delta 2^-L(h) holds for all
networks together, so also for the one that training chose. There is no 2 sqrt(n): that
factor belongs to averages over a posterior.

Source: Blumer, Ehrenfeucht, Haussler and Warmuth (1987); Langford 2005, Theorem 4.6.
"""

import math

from prunable.certify.bounds import binomial
from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import DENSE, PRODUCT, SUM, BoundResult, Term
from prunable.certify.bounds.checks import check_delta
from prunable.errors import check_one_of, require

SOURCE = "Langford 2005, Theorem 4.6 (Blumer et al. 1987)"
INDEPENDENT = Assumption(
    "the examples are independent draws of one law",
    "unchecked",
    "no computation on the sample can prove it",
)
_PREFIX_CODE = Assumption(
    "the code is a prefix code fixed before the data",
    "holds",
    "the decoder accepts the encoder's own bytes only, and its rules hold no data",
)
_FRESH_INPUTS = Assumption(
    "the fresh inputs are independent draws that served no choice",
    "unchecked",
    "no computation can see it",
)
_MOST_EXAMPLES = 10**15


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
    """Bound the risk of a deterministic network with `errors` among n by the bits of its code.

    The `form` is "binomial", the exact tail, or "kl", its Chernoff form, which is a little larger.
    The `saving`, in [0, bits], is log2 of a lower bound on the number of codes of at most `bits`
    bits that decode to the same function, see `permutation_saving`.
    """
    where = "occam_bound"
    binomial.check_counts(errors, n, where)
    check_delta(delta, where)
    require(0 <= bits < math.inf, "bits", where, "finite and at least 0", bits)
    require(0 <= saving <= bits, "saving", where, "in [0, bits]", saving)
    check_one_of(form, ("binomial", "kl"), "form", where)
    said, name = "length of the code, bits", "Occam, code length"
    if saving:
        said = f"length of the code, {bits:g} bits, less {saving:.1f} for orders of hidden units"
        name += " less permutations"
    nats = Term.made(
        "L ln 2",
        PRODUCT,
        "description of the network, nats",
        Term.of("L", bits - saving, said),
        Term.of("ln 2", math.log(2), "nats in a bit"),
    )
    first, rule = Term.of("k", errors, "errors on the training set"), binomial.BINOMIAL_INVERSION
    if form == "kl":
        first, rule = Term.of("r", errors / n, "training error"), binomial.KL_INVERSION
        name += ", kl form"
    return BoundResult(
        name=name,
        terms=(
            first,
            Term.of("n", n, "training examples"),
            Term.made("c", SUM, "nats to pay", nats, _confidence(delta)),
        ),
        rule=rule,
        assumptions=(INDEPENDENT, _PREFIX_CODE),
        source=SOURCE,
        n=n,
        delta=delta,
        about=about,
    )


def permutation_saving(hidden: list[list[int]]) -> float:
    """log2 of the number of distinct networks that permuting hidden units makes of one.

    All of them compute the same function, and a code that does not see the order of units gives
    each the same length, so the prior mass of the function is their number times that of one of
    them. `hidden` says for each hidden layer how many of its H units share each set of incoming
    weights. Only units with the same incoming weights can be exchanged without changing the
    network, so that the number is at least the product over layers of H! / prod(multiplicity!).
    """
    nats = 0.0
    for counts in hidden:
        valid = all(m >= 1 for m in counts)
        require(valid, "hidden", "permutation_saving", "counts of at least 1", counts)
        nats += math.lgamma(sum(counts) + 1) - math.fsum(math.lgamma(m + 1) for m in counts)
    return nats / math.log(2)


def bits_allowed(errors: int, n: int, delta: float, target: float) -> float | None:
    """Longest code with which these training errors are certified below a risk of `target`.

    None if not even a code of no bits is enough.
    """
    binomial.check_counts(errors, n, "bits_allowed")
    check_delta(delta, "bits_allowed")
    require(0 < target < 1, "target", "bits_allowed", "a risk in (0, 1)", target)
    bits = (-binomial.log_binomial_cdf(errors, n, target) + math.log(delta)) / math.log(2)
    return bits if bits >= 0 and errors / n < target else None


def examples_needed(rate: float, bits: float, delta: float, target: float) -> int | None:
    """Fewest examples with which a training error and a code length certify a risk of `target`.

    The training error `rate` is taken to stay the same; None if it is not below the target.
    """
    check_delta(delta, "examples_needed")
    require(0 < target < 1, "target", "examples_needed", "a risk in (0, 1)", target)
    if rate >= target:
        return None

    def enough(n: int) -> bool:
        log_delta = math.log(delta) - bits * math.log(2)
        return binomial.binomial_upper(math.ceil(rate * n), n, log_delta) <= target

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
    disagreement is counted on n fresh inputs, which need no labels and served no training. Its
    part fails with probability `delta`, the sum with at most the sum of both deltas.
    """
    binomial.check_counts(disagreements, n, "dense_through_compression")
    check_delta(delta, "dense_through_compression")
    of_compressed = f"bound of the compressed network: {compressed.name}"
    apart = Term.made(
        "P(f != g)",
        binomial.BINOMIAL_INVERSION,
        "disagreement, at most",
        Term.of("k", disagreements, "fresh inputs on which the networks differ"),
        Term.of("m", n, "fresh inputs"),
        _confidence(delta),
    )
    return BoundResult(
        name="code length and disagreement",
        terms=(Term.of("R(g)", compressed.value, of_compressed), apart),
        rule=SUM,
        assumptions=(*compressed.assumptions, _FRESH_INPUTS),
        source=f"union bound; {compressed.source}",
        n=compressed.n,
        delta=delta + (compressed.delta or 0.0),
        about=DENSE,
    )


def _confidence(delta: float) -> Term:
    return Term.of("ln(1/delta)", -math.log(delta), "confidence, nats")
