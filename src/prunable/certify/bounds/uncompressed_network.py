"""Risk of the dense network because it could be pruned: theorem 7 of Barsbey et al. (2021)."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from prunable.certify.bounds.base import (
    MAXIMUM,
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    at_least,
    check_delta,
    check_positive,
    safe_exp,
    safe_log,
)
from prunable.certify.bounds.compression import (
    Compression,
    default_tau,
    norm_assumption,
    tau_choice,
)
from prunable.certify.bounds.facts import check_margins, margin_loss
from prunable.certify.bounds.frobenius_perturbation import SOURCE, lipschitz_term
from prunable.certify.bounds.rho import rho
from prunable.errors import InputError


def dense_network_bound(
    margins: ArrayLike,
    compression: Compression,
    *,
    input_norm: float,
    norm: float,
    delta: float = 0.05,
    tau: float | None = None,
    failure: float = 0.0,
    norm_bound: float | None = None,
) -> BoundResult:
    """Bound the risk of the network before pruning: theorem 7.

    Parameters
    ----------
    margins, compression, input_norm, norm, delta, tau, failure, norm_bound
        As in `pruned_network_bound`, the paper's variant.

    Returns
    -------
    BoundResult
        R^_tau(w) + max(2, 24 rho Lip R / sqrt(d)) sqrt(d log(n) / n).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "dense_network_bound"
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
    epsilon, kappa, d = compression.claimed, compression.kappa, compression.d
    # at epsilon of 1 and more compressibility says nothing: rho is 1
    share = rho(epsilon, kappa, d) if 0 < epsilon < 1 else float(epsilon > 0 or kappa == 1)
    if epsilon == 0 and kappa < 1:
        share = 0.0
    size = Term.made(
        "24 rho Lip R/sqrt(d)",
        PRODUCT,
        (
            Term.of("24", 24.0, "constant of the proof"),
            Term.of("rho_eps(kappa,d)", share, "what compressibility saves", "theorem 7"),
            lipschitz_term(input_norm, radius, compression.depth, tau),
            Term.of("R(delta)", radius, "norm of all weights"),
            Term.of("1/sqrt(d)", 1 / math.sqrt(d), f"d = {d} weights"),
        ),
        "size of the set of weights",
        "(B.1)",
    )
    factor = Term.made(
        "max(2, ..)", MAXIMUM, (Term.of("2", 2.0, "least factor"), size), "factor", "(B.1)"
    )
    rate = Term.of("sqrt(d log(n)/n)", math.sqrt(d * math.log(n) / n), f"d = {d}, n = {n}", "(B.1)")
    complexity = Term.made("complexity", PRODUCT, (factor, rate), "price of generalization")
    empirical = Term.of(
        "R^_tau(w)",
        margin_loss(checked, tau),
        f"share of training margins up to tau = {tau:.4g}",
        "(B.1)",
    )
    closeness = 2 * kappa * safe_log(epsilon) if kappa > 0 else 0.0
    needed = max(math.log(9 * compression.depth), math.log(81) - closeness)
    assumptions = (
        compression.hypothesis(failure),
        norm_assumption(norm, radius, delta, norm_bound is not None),
        at_least(
            "n/log(n) > max(9 L, 81 eps^(-2 kappa))", math.log(n / math.log(n)), needed, strict=True
        ),
        at_least("d > 10", math.log(d), math.log(10), strict=True),
        Assumption(
            "ReLU network without biases",
            "unchecked",
            "the form of the network is the caller's word",
        ),
        choice,
    )
    return BoundResult(
        "dense network through its compression",
        (empirical, complexity),
        SUM,
        assumptions,
        f"{SOURCE}, theorem 7 (B.1)",
        n=n,
        delta=delta + failure + safe_exp(math.log(2) - d / 2),
    )
