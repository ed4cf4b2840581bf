"""Risk of the dense network because it could be pruned: theorem 7 of Barsbey et al. (2021)."""

from __future__ import annotations

import math

from prunable.certify.bounds.base import (
    MAXIMUM,
    PRODUCT,
    SUM,
    BoundResult,
    Term,
    at_least,
    safe_exp,
    safe_log,
)
from prunable.certify.bounds.compression import NormBound, Observed
from prunable.certify.bounds.facts import RELU_WITHOUT_BIASES, margin_loss_term
from prunable.certify.bounds.frobenius_perturbation import SOURCE, lipschitz_term
from prunable.certify.bounds.rho import rho


def dense_network_bound(seen: Observed, weights: NormBound, *, failure: float = 0.0) -> BoundResult:
    """R^_tau(w) + max(2, 24 rho Lip R / sqrt(d)) sqrt(d log(n) / n): theorem 7.

    It bounds the risk of the network before pruning; `failure` is that of H1.
    """
    compression, n, tau = seen.compression, seen.n, seen.tau
    epsilon, kappa, d = compression.claimed, compression.kappa, compression.d
    # at epsilon of 1 and more compressibility says nothing: rho is 1
    share = rho(epsilon, kappa, d) if 0 < epsilon < 1 else float(epsilon > 0 or kappa == 1)
    size = Term.made(
        "24 rho Lip R/sqrt(d)",
        PRODUCT,
        "size of the set of weights",
        Term.of("24", 24.0, "constant of the proof"),
        Term.of("rho_eps(kappa,d)", share, "what compressibility saves", "theorem 7"),
        lipschitz_term(seen.input_norm, weights.radius, compression.depth, tau),
        Term.of("R(delta)", weights.radius, "norm of all weights"),
        Term.of("1/sqrt(d)", 1 / math.sqrt(d), f"d = {d} weights"),
        equation="(B.1)",
    )
    least = Term.of("2", 2.0, "least factor")
    factor = Term.made("max(2, ..)", MAXIMUM, "factor", least, size, equation="(B.1)")
    rate = Term.of("sqrt(d log(n)/n)", math.sqrt(d * math.log(n) / n), f"d = {d}, n = {n}", "(B.1)")
    empirical = margin_loss_term(
        seen.margins, tau, "training margins up to tau =", symbol="R^_tau(w)", equation="(B.1)"
    )
    closeness = 2 * kappa * safe_log(epsilon) if kappa > 0 else 0.0
    needed = max(math.log(9 * compression.depth), math.log(81) - closeness)
    condition = "n/log(n) > max(9 L, 81 eps^(-2 kappa))"
    return BoundResult(
        "dense network through its compression",
        (empirical, Term.made("complexity", PRODUCT, "price of generalization", factor, rate)),
        SUM,
        (
            compression.hypothesis(failure),
            weights.assumption(),
            at_least(condition, seen.log_ratio, needed, strict=True),
            at_least("d > 10", math.log(d), math.log(10), strict=True),
            RELU_WITHOUT_BIASES,
            seen.choice,
        ),
        f"{SOURCE}, theorem 7 (B.1)",
        n=n,
        delta=weights.delta + failure + safe_exp(math.log(2) - d / 2),
    )
