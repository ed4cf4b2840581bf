"""Risk of a network pruned layer by layer: theorem 5 of Barsbey et al. (2021).

The empirical risk is that of the dense network, with a margin that pays for what pruning does
to the outputs; the rest depends on the kept share and the norm of the weights.
"""

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
    check_delta,
    check_positive,
    powers,
    safe_exp,
)
from prunable.certify.bounds.compression import (
    Compression,
    default_tau,
    norm_assumption,
    sample_assumptions,
    tau_choice,
)
from prunable.certify.bounds.entropy import binary_entropy
from prunable.certify.bounds.facts import check_margins, margin_loss
from prunable.certify.bounds.frobenius_perturbation import (
    SOURCE,
    lipschitz_term,
    uniform_perturbation,
)
from prunable.errors import InputError

# The a-posteriori variant holds for all norms and ramps 2^k, |k| <= 500, and all counts of kept
# weights from 100 on: a count k fails with probability 2 exp(-k/2), so few kept weights are many.
GRID, LEAST_KEPT = 1001, 100
Variant = Literal["paper", "a posteriori"]


def pruned_network_bound(
    margins: ArrayLike,
    compression: Compression,
    *,
    input_norm: float,
    norm: float,
    delta: float = 0.05,
    tau: float | None = None,
    failure: float = 0.0,
    norm_bound: float | None = None,
    variant: Variant = "paper",
) -> BoundResult:
    """Bound the risk of the pruned network: theorem 5.

    Parameters
    ----------
    margins : array_like, shape (n,)
        Of the dense network on the training set.
    compression : Compression
    input_norm : float
        B.
    norm : float
        ||w||, all layers together.
    delta : float
        Probability that ||w|| exceeds R(delta), in (0, 1).
    tau : float, optional
        Width of the ramp, chosen before the data; `default_tau` of the margins if None.
    failure : float
        Probability with which H1 fails.
    norm_bound : float, optional
        R(delta); `norm` if None, an assumption that cannot be checked on one network.
    variant : {"paper", "a posteriori"}
        The second needs no R(delta): it holds on a grid of norms and ramps and for all
        counts of kept weights at once, and takes the grid point above what is found.

    Returns
    -------
    BoundResult
        R^_gamma(w) + (12 Lip R + sqrt(d)) sqrt((kappa + eps_kappa) log(n) / n).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "pruned_network_bound"
    checked = check_margins(margins, where)
    n = checked.size
    check_delta(delta, where)
    check_positive(input_norm, "input_norm", where)
    check_positive(norm, "norm", where, "A network of zeros has no bound.")
    if n < 2:
        raise InputError.parameter("margins", where, "2 examples or more", n)
    radius = norm if norm_bound is None else check_positive(norm_bound, "norm_bound", where)
    choice = tau_choice(tau)
    tau = default_tau(checked) if tau is None else check_positive(tau, "tau", where)
    kappa, d, layers = compression.kappa, compression.d, compression.depth
    if variant == "a posteriori":
        radius, tau = 2.0 ** math.ceil(math.log2(norm)), 2.0 ** math.floor(math.log2(tau))
        least = min(LEAST_KEPT, d)
        kappa = max(kappa, least / d)
        log_all = math.log(2) - least / 2 - math.log1p(-math.exp(-0.5)) + 2 * math.log(GRID)
        total = failure + safe_exp(log_all)
        known = Assumption("||w|| <= R", "holds", f"{norm:.4g} <= {radius:.4g}, a grid point")
        choice = Assumption(choice.name, "holds", "tau is a grid point, and all of them are paid")
    else:
        total = delta + failure + safe_exp(math.log(2) - kappa * d / 2)
        known = norm_assumption(norm, radius, delta, norm_bound is not None)
    change = uniform_perturbation(input_norm, radius, compression.claimed, layers)
    gamma = tau + math.sqrt(2) * change.value
    empirical = Term.of(
        "R^_gamma(w)",
        margin_loss(checked, gamma),
        f"share of training margins of the dense network up to gamma = {gamma:.4g}",
        "(4.3)",
    )
    complexity = complexity_term(
        layers=layers, d=d, kappa=kappa, n=n, input_norm=input_norm, radius=radius, tau=tau
    )
    return BoundResult(
        "pruned network",
        (empirical, complexity),
        SUM,
        (compression.hypothesis(failure), known, choice, *sample_assumptions(n, layers)),
        f"{SOURCE}, theorem 5 (4.3)",
        n=n,
        delta=total,
        variant=variant,
    )


def complexity_term(
    *, layers: int, d: int, kappa: float, n: int, input_norm: float, radius: float, tau: float
) -> Term:
    """Make the second term of (4.3), itemised.

    Parameters
    ----------
    layers, d, kappa, n
        L, number of weights, kept share, examples.
    input_norm, radius, tau : float
        B, R(delta) and the width of the ramp.

    Returns
    -------
    Term
    """
    weight = Term.made(
        "12 Lip R",
        PRODUCT,
        (
            Term.of("12", 12.0, "constant of the proof"),
            lipschitz_term(input_norm, radius, layers, tau),
            Term.of("R(delta)", radius, "norm of all weights"),
        ),
        "size of the set of weights",
        "theorem 5",
    )
    factor = Term.made(
        "12 Lip R + sqrt(d)",
        SUM,
        (weight, Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights")),
        "norm and dimension",
        "theorem 5",
    )
    rate = rate_term(kappa, n)
    return Term.made("complexity", PRODUCT, (factor, rate), "price of generalization", "(4.3)")


def rate_term(kappa: float, n: int) -> Term:
    """Make sqrt((kappa + eps_kappa) log(n) / n) of theorem 5, itemised; of type `Term`."""
    shares = Term.made(
        "kappa + eps_kappa",
        SUM,
        (
            Term.of("kappa", kappa, "kept share of the weights"),
            Term.of("eps_kappa", extra_share(kappa, n), "price of the positions", "theorem 5"),
        ),
        "effective kept share",
    )
    return Term.made(
        "sqrt((kappa+eps_kappa) log(n)/n)",
        powers(0.5, 0.5),
        (shares, Term.of("log(n)/n", math.log(n) / n, f"n = {n} examples")),
        "rate",
        "(4.3)",
    )


def extra_share(kappa: float, n: int) -> float:
    """eps_kappa = (2 h_b(kappa) - kappa log(kappa)) / log(n), of theorem 5; 0 if kappa is 0."""
    if kappa <= 0:
        return 0.0
    return (2 * binary_entropy(kappa) - kappa * math.log(kappa)) / math.log(n)
