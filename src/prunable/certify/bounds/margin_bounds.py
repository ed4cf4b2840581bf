"""What baselines share: raw capacities, and bounds for any margin and norms found in the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunable.certify.bounds import grid
from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Rule,
    Term,
    check_delta,
    powers,
    safe_exp,
)
from prunable.certify.bounds.compression import default_tau
from prunable.certify.bounds.facts import NetworkFacts, margin_loss, positive_margin


def capacity(
    name: str,
    facts: NetworkFacts,
    terms: Sequence[Term],
    source: str,
    *,
    gamma: float | None = None,
    variant: str = "paper",
    assumptions: tuple[Assumption, ...] = (),
) -> BoundResult:
    """Make a raw capacity: norms over the squared margin, no bound on any risk.

    Parameters
    ----------
    name : str
    facts : NetworkFacts
    terms : sequence of Term
        Factors beside the margin.
    source : str
    gamma : float, optional
        Margin; the smallest of the training set if None, as in the tables of 2023. Infinite
        if the margin is not positive.
    variant : str
    assumptions : tuple of Assumption

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    margin = float(facts.margins.min()) if gamma is None else gamma
    log_inverse = -2 * math.log(margin) if margin > 0 else math.inf
    inverse = Term("1/gamma^2", f"margin {margin:.4g}", log_inverse)
    no_bound = Assumption(
        "the number bounds a risk", "violated", "root, sample size and constants are left out"
    )
    return BoundResult(
        name,
        (inverse, *terms),
        PRODUCT,
        (
            positive_margin(margin, "smallest training margin" if gamma is None else "margin"),
            no_bound,
            *assumptions,
            facts.no_biases(),
        ),
        source,
        n=facts.n,
        quantity="capacity",
        variant=variant,
    )


def margin_bound(
    name: str,
    facts: NetworkFacts,
    factors: Sequence[Term],
    source: str,
    *,
    log_shares: Sequence[float],
    gamma: float | None,
    delta: float,
    extra: Sequence[Term] = (),
    assumptions: tuple[Assumption, ...] = (),
) -> BoundResult:
    """Make a bound from a Rademacher complexity that is linear in 1 / gamma.

    Parameters
    ----------
    name : str
    facts : NetworkFacts
    factors : sequence of Term
        Of twice the Rademacher complexity of the ramp loss, but for 1 / gamma. Norms in them
        lie on the grid of `prunable.certify.bounds.grid`.
    source : str
    log_shares : sequence of float
        Natural logarithms of the shares of the failure probability of these grid points.
    gamma : float, optional
        Margin; `default_tau` of the training margins if None. It is moved down to the grid.
    delta : float
    extra : sequence of Term
        What is added to the complexity.
    assumptions : tuple of Assumption

    Returns
    -------
    BoundResult
        R^_gamma + complexity + 3 sqrt(ln(2/delta') / (2 n)).
    """
    check_delta(delta, name)
    margin, share = grid_margin(facts, gamma)
    log_delta = math.log(delta) + share + math.fsum(log_shares)
    empirical = Term.of(
        "R^_gamma",
        margin_loss(facts.margins, margin) if margin > 0 else 1.0,
        f"share of training margins up to gamma = {margin:.4g}",
    )
    inverse = Term(
        "1/gamma", "inverse margin, on the grid", -math.log(margin) if margin > 0 else math.inf
    )
    complexity = Term.made(
        "complexity", PRODUCT, (*factors, inverse), "twice the Rademacher complexity", source
    )
    return BoundResult(
        name,
        (empirical, complexity, *extra, confidence(log_delta, facts.n)),
        SUM,
        (positive_margin(margin), *assumptions, facts.dense_layers(), facts.no_biases()),
        source,
        n=facts.n,
        delta=delta,
        variant="normalised",
    )


def confidence(log_delta: float, n: int) -> Term:
    """3 sqrt(ln(2/delta') / (2 n)) of bounds by empirical Rademacher complexity."""
    return Term.made(
        "confidence",
        powers(1, 0.5, -0.5),
        (
            Term.of("3", 3.0, "constant"),
            Term.of("ln(2/delta')", math.log(2) - log_delta, "with the price of the grid"),
            Term.of("2n", 2 * n, f"n = {n} examples"),
        ),
        "price of confidence",
        "Bartlett and Mendelson (2002)",
    )


def grid_margin(facts: NetworkFacts, gamma: float | None) -> tuple[float, float]:
    """Margin on the grid and the logarithm of its share; margins <= 0 stay as they are."""
    if gamma is None:
        gamma = default_tau(facts.margins) if facts.margins.max() > 0 else 0.0
    if gamma <= 0:
        return gamma, 0.0
    log_margin, share = grid.down(math.log(gamma))
    return safe_exp(log_margin), share


def grid_term(symbol: str, log_value: float, meaning: str) -> tuple[Term, float]:
    """Make a term moved up to the grid, and the logarithm of its share; zero stays zero."""
    if not math.isfinite(log_value):
        return Term(symbol, meaning, log_value), 0.0
    rounded, share = grid.up(log_value)
    return Term(symbol, f"{meaning}, on the grid", rounded), share


def sum_of(symbol: str, logs: Sequence[float], meaning: str, rule: Rule = SUM) -> Term:
    """Make a sum over layers of which only the parts' logarithms are known."""
    parts = [Term(f"layer {i}", "part of one layer", x) for i, x in enumerate(logs, 1)]
    return Term.made(symbol, rule, parts, meaning)
