"""Spectrally normalised margins by PAC-Bayes: Neyshabur, Bhojanapalli and Srebro (2017/2018)."""

from __future__ import annotations

import math
from typing import Literal

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
from prunable.certify.bounds.margin_bounds import capacity, grid_margin, sum_of

SOURCE = "Neyshabur, Bhojanapalli, Srebro (2018)"
# 4 sqrt(2) e^2, rounded up, of the source's proof.
PROOF_CONSTANT = 42.0


def spectral_capacity(
    facts: NetworkFacts,
    gamma: float | None = None,
    variant: Literal["paper", "authors-code"] = "authors-code",
) -> BoundResult:
    """Evaluate the capacity of theorem 1.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; the smallest of the training set if None.
    variant : {"paper", "authors-code"}
        "paper": B^2 L^2 h ln(L h) prod ||A_l||_2^2 sum ||A_l||_F^2 / ||A_l||_2^2, h the widest
        layer. "authors-code", of the tables of 2023: without B, L and the logarithm, and with
        the input dimension of each layer inside the sum.

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    product = Term("prod||A_l||_2^2", "squared spectral norms", 2 * facts.log_spectral_product)
    if variant == "authors-code":
        widths = [math.log(layer.inputs) for layer in facts.layers]
        logs = [a + b for a, b in zip(_ratios(facts), widths, strict=True)]
        factors: tuple[Term, ...] = (
            product,
            sum_of("sum h_l||A_l||_F^2/||A_l||_2^2", logs, "widths and ranks"),
        )
    else:
        h, depth = facts.width, facts.depth
        factors = (
            Term.of("B^2 L^2", (facts.input_limit()[0] * depth) ** 2, "inputs and depth"),
            Term.of("h ln(L h)", h * math.log(depth * h), f"width h = {h}"),
            product,
            sum_of("sum||A_l||_F^2/||A_l||_2^2", _ratios(facts), "stable ranks"),
        )
    return capacity(
        "Neyshabur 2017", facts, factors, f"{SOURCE}, theorem 1", gamma=gamma, variant=variant
    )


def spectral_bound(
    facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
) -> BoundResult:
    """Bound the risk: theorem 1 with the constants of its proof.

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
        R^_gamma + 4 sqrt((KL + ln(6 n / delta')) / (n - 1)).

    Notes
    -----
    Priors of deviation gamma / (42 L B b^(L-1) sqrt(h ln(4 L h))) stand at L n^(1/(2L)) values
    of b, one within a factor 1 + 1/L of the geometric mean of spectral norms, which costs e^2.
    """
    check_delta(delta, "spectral_bound")
    n, depth, h = facts.n, facts.depth, facts.width
    margin, share = grid_margin(facts, gamma)
    limit, known = facts.input_limit()
    log_inverse = -2 * math.log(margin) if margin > 0 else math.inf
    divergence = Term.made(
        "KL",
        PRODUCT,
        (
            Term.of("(42 e)^2/2", (PROOF_CONSTANT * math.e) ** 2 / 2, "constants of the proof"),
            Term("B^2", "inputs", 2 * safe_log(limit)),
            Term.of("L^2", depth**2, "depth"),
            Term.of("h ln(4 L h)", h * math.log(4 * depth * h), f"width h = {h}"),
            Term("prod||A_l||_2^2", "squared spectral norms", 2 * facts.log_spectral_product),
            sum_of("sum||A_l||_F^2/||A_l||_2^2", _ratios(facts), "stable ranks"),
            Term("1/gamma^2", "margin, on the grid", log_inverse),
        ),
        "divergence of the perturbed network from the prior",
        "lemma 1",
    )
    log_cover = math.log(depth) + math.log(n) / (2 * depth)
    nats = Term.of(
        "ln(6 n/delta')",
        math.log(6 * n) - math.log(delta) + log_cover - share,
        "confidence, priors and margins",
    )
    complexity = Term.made(
        "complexity",
        powers(1, 0.5, -0.5),
        (
            Term.of("4", 4.0, "constant of lemma 1"),
            Term.made("KL+ln(6 n/delta')", SUM, (divergence, nats), "nats"),
            Term.of("n-1", max(n - 1, 0), "examples"),
        ),
        "price of generalization",
        "theorem 1",
    )
    empirical = Term.of(
        "R^_gamma",
        margin_loss(facts.margins, margin) if margin > 0 else 1.0,
        f"share of training margins up to gamma = {margin:.4g}",
    )
    return BoundResult(
        "Neyshabur 2017",
        (empirical, complexity),
        SUM,
        (
            positive_margin(margin),
            known,
            Assumption("ReLU network", "unchecked", "the form of the network is the caller's word"),
            facts.dense_layers(),
            facts.no_biases(),
        ),
        f"{SOURCE}, theorem 1",
        n=n,
        delta=delta,
        variant="normalised",
    )


def _ratios(facts: NetworkFacts) -> list[float]:
    """Natural logarithms of ||A_l||_F^2 / ||A_l||_2^2."""
    return [
        2 * (math.log(x.frobenius) - math.log(x.spectral)) if x.spectral > 0 else -math.inf
        for x in facts.layers
    ]
