"""Spectral norms and the number of weights: a cover of the layers in spectral norm.

Every layer lies within a relative distance b of one of (1 + 2/b)^(weights) matrices; by lemma
B.2 the network's margin then changes by little, so that counting covers is a bound. It is the
argument of Long and Sedghi (2020), with constants that come from the count.
"""

from __future__ import annotations

import math

from prunable.certify.bounds import grid
from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    check_delta,
    powers,
    safe_log,
)
from prunable.certify.bounds.facts import NetworkFacts, margin_loss, positive_margin
from prunable.certify.bounds.margin_bounds import capacity, grid_margin, grid_term

SOURCE = "cover in spectral norm, after Long and Sedghi (2020)"


def spectral_product_capacity(facts: NetworkFacts, gamma: float | None = None) -> BoundResult:
    """Evaluate prod ||A_l||_2^2 / gamma^2, of which the bound has the logarithm alone.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; the smallest of the training set if None.

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    product = Term("prod||A_l||_2^2", "squared spectral norms", 2 * facts.log_spectral_product)
    return capacity("spectral norms", facts, (product,), SOURCE, gamma=gamma)


def spectral_cover_bound(
    facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
) -> BoundResult:
    """Bound the risk by the number of weights times the logarithm of spectral norms.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; `default_tau` of the training margins if None, moved down to a grid.
    delta : float
        Failure probability.

    Returns
    -------
    BoundResult
        R^_gamma + sqrt((d ln(1 + 2/b) + ln(1/delta')) / (2 n)), in which a relative distance
        b = gamma / (2 sqrt(2) e B L prod ||A_l||_2), at most 1/L, moves margins by gamma / 2.
    """
    check_delta(delta, "spectral_cover_bound")
    n, depth = facts.n, facts.depth
    margin, share = grid_margin(facts, gamma)
    limit, known = facts.input_limit()
    product, product_share = grid_term(
        "prod||A_l||_2", facts.log_spectral_product, "product of spectral norms"
    )
    log_b = -math.inf
    if margin > 0:
        reach = math.log(2 * math.sqrt(2) * math.e * depth) + safe_log(limit) + product.log_value
        # below 1/L of every layer's own norm, which the grid exceeds by a step at most
        log_b = min(math.log(margin) - reach, -math.log(depth) - grid.STEP)
    # ln(1 + 2/b), also where 2/b is beyond the doubles
    nats = log1p_of(math.log(2) - log_b)
    count = Term.made(
        "d ln(1+2/b)",
        PRODUCT,
        (
            Term.of("d", facts.weights, "weights"),
            Term.of("ln(1+2/b)", nats, f"b = exp({log_b:.4g}), {product.symbol} inside"),
        ),
        "nats of the cover",
    )
    log_delta = math.log(delta) + share + product_share
    complexity = Term.made(
        "complexity",
        powers(0.5, -0.5),
        (
            Term.made(
                "nats",
                SUM,
                (count, Term.of("ln(1/delta')", -log_delta, "with the price of the grid")),
                "nats paid",
            ),
            Term.of("2n", 2 * n, f"n = {n} examples"),
        ),
        "price of generalization",
    )
    empirical = Term.of(
        "R^_gamma",
        margin_loss(facts.margins, margin) if margin > 0 else 1.0,
        f"share of training margins up to gamma = {margin:.4g}",
    )
    return BoundResult(
        "spectral norms",
        (empirical, complexity),
        SUM,
        (
            positive_margin(margin),
            known,
            Assumption("ReLU network", "unchecked", "the form of the network is the caller's word"),
            facts.dense_layers(),
            facts.no_biases(),
        ),
        SOURCE,
        n=n,
        delta=delta,
        variant="normalised",
    )


def log1p_of(log_value: float) -> float:
    """ln(1 + exp(log_value)); inf at inf."""
    if log_value > 700:
        return log_value
    return math.log1p(math.exp(log_value))
