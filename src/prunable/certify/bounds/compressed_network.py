"""Risk of a network pruned layer by layer, and of one that could be: Barsbey et al. (2021).

The empirical risk is that of the dense network, in theorem 5 with a margin that pays for what
pruning does to the outputs; the rest depends on the kept share and the norm of the weights.
"""

import math
from typing import Literal

from prunable.certify.bounds import frobenius_perturbation as perturbation
from prunable.certify.bounds.assumptions import RELU_WITHOUT_BIASES, Assumption, at_least
from prunable.certify.bounds.base import MAXIMUM, PRODUCT, SUM, BoundResult, Term, powers
from prunable.certify.bounds.compression import NormBound, Observed
from prunable.certify.bounds.facts import margin_loss_term
from prunable.certify.bounds.logs import safe_exp, safe_log
from prunable.certify.bounds.rho import binary_entropy, rho

# The a-posteriori variant holds for all norms and ramps 2^k, |k| <= 500, and all counts of kept
# weights from 100 on: a count k fails with probability 2 exp(-k/2), so few kept weights are many.
GRID, LEAST_KEPT = 1001, 100
Variant = Literal["paper", "a posteriori"]


def pruned_network_bound(
    seen: Observed, weights: NormBound, *, variant: Variant = "paper"
) -> BoundResult:
    """R^_gamma(w) + (12 Lip R + sqrt(d)) sqrt((kappa + eps_kappa) log(n) / n): theorem 5.

    It bounds the risk of the pruned network. The variant "a posteriori" needs no R(delta): it
    holds on a grid of norms and ramps and for all counts of kept weights at once, and takes the
    grid point above what is found.
    """
    compression, choice = seen.compression, seen.choice
    kappa, d, layers = compression.kappa, compression.d, compression.depth
    radius, tau = weights.radius, seen.tau
    if variant == "a posteriori":
        norm = weights.norm
        radius, tau = 2.0 ** math.ceil(math.log2(norm)), 2.0 ** math.floor(math.log2(tau))
        least = min(LEAST_KEPT, d)
        kappa = max(kappa, least / d)
        log_all = math.log(2) - least / 2 - math.log1p(-math.exp(-0.5)) + 2 * math.log(GRID)
        total = compression.failure + safe_exp(log_all)
        known = Assumption("||w|| <= R", "holds", f"{norm:.4g} <= {radius:.4g}, a grid point")
        choice = Assumption(choice.name, "holds", "tau is a grid point, and all of them are paid")
    else:
        rare = safe_exp(math.log(2) - kappa * d / 2)
        total = weights.delta + compression.failure + rare
        known = weights.assumption()
    change = perturbation.uniform_perturbation(seen.input_norm, radius, compression.claimed, layers)
    size = Term.made(
        "12 Lip R",
        PRODUCT,
        "size of the set of weights",
        Term.of("12", 12.0, "constant of the proof"),
        perturbation.lipschitz_term(seen.input_norm, radius, layers, tau),
        Term.of("R(delta)", radius, "norm of all weights"),
        equation="theorem 5",
    )
    return theorem_5(
        seen,
        "pruned network",
        "theorem 5 (4.3)",
        size,
        kappa=kappa,
        gamma=tau + math.sqrt(2) * change.value,
        delta=total,
        assumptions=(compression.hypothesis(), known, choice, *seen.sample_assumptions()),
        variant=variant,
    )


def dense_network_bound(seen: Observed, weights: NormBound) -> BoundResult:
    """R^_tau(w) + max(2, 24 rho Lip R / sqrt(d)) sqrt(d log(n) / n): theorem 7.

    It bounds the risk of the network before pruning.
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
        perturbation.lipschitz_term(seen.input_norm, weights.radius, compression.depth, tau),
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
            compression.hypothesis(),
            weights.assumption(),
            at_least(condition, seen.log_ratio, needed, strict=True),
            at_least("d > 10", math.log(d), math.log(10), strict=True),
            RELU_WITHOUT_BIASES,
            seen.choice,
        ),
        f"{perturbation.SOURCE}, theorem 7 (B.1)",
        n=n,
        delta=weights.delta + compression.failure + safe_exp(math.log(2) - d / 2),
    )


def theorem_5(
    seen: Observed,
    name: str,
    statement: str,
    size: Term,
    *,
    gamma: float,
    delta: float,
    assumptions: tuple[Assumption, ...],
    kappa: float | None = None,
    variant: Variant = "paper",
) -> BoundResult:
    """Make the bound of theorem 5, or a corollary, from the size of the set of weights.

    R^_gamma(w) + (size + sqrt(d)) sqrt((kappa + eps_kappa) log(n) / n).
    """
    n, d, share = seen.n, seen.compression.d, kappa or seen.compression.kappa
    empirical = margin_loss_term(
        seen.margins,
        gamma,
        "training margins of the dense network up to gamma =",
        symbol="R^_gamma(w)",
        equation=statement,
    )
    factor = Term.made(
        f"{size.symbol} + sqrt(d)",
        SUM,
        "norm and dimension",
        size,
        Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights"),
        equation=statement,
    )
    shares = Term.made(
        "kappa + eps_kappa",
        SUM,
        "effective kept share",
        Term.of("kappa", share, "kept share of the weights"),
        Term.of("eps_kappa", extra_share(share, n), "price of the positions", "theorem 5"),
    )
    rate = Term.made(
        "sqrt((kappa+eps_kappa) log(n)/n)",
        powers(0.5, 0.5),
        "rate",
        shares,
        Term.of("log(n)/n", math.log(n) / n, f"n = {n} examples"),
        equation="(4.3)",
    )
    complexity = Term.made(
        "complexity", PRODUCT, "price of generalization", factor, rate, equation=statement
    )
    return BoundResult(
        name,
        (empirical, complexity),
        SUM,
        assumptions,
        f"{perturbation.SOURCE}, {statement}",
        n=n,
        delta=delta,
        variant=variant,
    )


def extra_share(kappa: float, n: int) -> float:
    """eps_kappa = (2 h_b(kappa) - kappa log(kappa)) / log(n), of theorem 5; 0 if kappa is 0."""
    if kappa <= 0:
        return 0.0
    return (2 * binary_entropy(kappa) - kappa * math.log(kappa)) / math.log(n)
