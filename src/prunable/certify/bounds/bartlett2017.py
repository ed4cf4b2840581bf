"""Spectrally normalised margins by covering: Bartlett, Foster and Telgarsky (2017)."""

from __future__ import annotations

import math
from typing import Literal

from prunable.certify.bounds import grid
from prunable.certify.bounds.base import SUM, BoundResult, Rule, Term, safe_log
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts
from prunable.certify.bounds.margin_bounds import capacity, grid_term, margin_bound, sum_of
from prunable.errors import InputError

SOURCE = "Bartlett, Foster, Telgarsky (2017)"
Variant = Literal["paper", "authors-intended", "authors-code"]

# (sum x_l^(2/3))^3 of squared ratios: sum of cubic roots, cubed
_CUBIC = Rule("(sum of cubic roots)^3", lambda logs: 3 * SUM.log_combine([x / 3 for x in logs]))
_CUBIC_ROOT = Rule(
    "(sum t^(2/3))^(3/2)", lambda logs: 1.5 * SUM.log_combine([2 * x / 3 for x in logs])
)


def covering_capacity(
    facts: NetworkFacts, gamma: float | None = None, variant: Variant = "paper"
) -> BoundResult:
    """Evaluate prod ||A_l||_2^2 times a sum of squared ratios of norms, over gamma^2.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; the smallest of the training set if None.
    variant : {"paper", "authors-intended", "authors-code"}
        "paper": (sum (||A_l^T||_{2,1} / ||A_l||_2)^(2/3))^3, the true (2,1) norm.
        "authors-intended", of the tables of 2023: sum ||A_l||_{1,2}^2 / ||A_l||_2^2.
        "authors-code": what their helper returns, ||A_l||_F in place of ||A_l||_{1,2}.

    Returns
    -------
    BoundResult
        Of quantity "capacity".

    Raises
    ------
    InputError
        If `variant` is unknown.
    """
    product = Term("prod||A_l||_2^2", "squared spectral norms", 2 * facts.log_spectral_product)
    if variant == "paper":
        symbol, rule = "(sum(||A_l^T||_{2,1}/||A_l||_2)^(2/3))^3", _CUBIC
        norms = [layer.rows_21 for layer in facts.layers]
    elif variant == "authors-intended":
        symbol, rule = "sum||A_l||_{1,2}^2/||A_l||_2^2", SUM
        norms = [layer.columns_12 for layer in facts.layers]
    elif variant == "authors-code":
        symbol, rule = "sum||A_l||_F^2/||A_l||_2^2", SUM
        norms = [layer.frobenius for layer in facts.layers]
    else:
        raise InputError.parameter(
            "variant", "covering_capacity", "paper, authors-intended or authors-code", variant
        )
    logs = [2 * _log_ratio(x, norm) for x, norm in zip(facts.layers, norms, strict=True)]
    factors = (product, sum_of(symbol, logs, "ratios of norms", rule))
    return capacity(
        "Bartlett 2017", facts, factors, f"{SOURCE}, theorem 1.1", gamma=gamma, variant=variant
    )


def covering_bound(
    facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
) -> BoundResult:
    """Bound the risk: theorem 1.1 with constants from its covering numbers.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; `default_tau` of the training margins if None.
    delta : float
        Failure probability.

    Returns
    -------
    BoundResult

    Notes
    -----
    Theorem 3.3 of the source bounds the covering numbers; Dudley's integral from 1/n to
    sqrt(n) (lemma A.5) makes 8 n^(-3/2) + 72 sqrt(ln(2 W^2)) ln(n) ||X||_F R_A / (gamma n).
    Reference matrices are zero. The product of spectral norms and each ratio of norms are moved
    up to a grid that is paid for.
    """
    n = facts.n
    product, share = grid_term(
        "prod||A_l||_2", facts.log_spectral_product, "product of spectral norms"
    )
    shares, logs = [share], []
    for layer in facts.layers:
        log_ratio = _log_ratio(layer, layer.rows_21)
        if math.isfinite(log_ratio):
            log_ratio, share = grid.up(log_ratio)
            shares.append(share)
        logs.append(log_ratio)
    width = facts.width
    factors = (
        Term.of("72", 72.0, "constant of the covering"),
        Term.of("sqrt(ln(2 W^2))", math.sqrt(math.log(2 * width**2)), f"width W = {width}"),
        Term.of("ln(n)", math.log(n), "Dudley's integral"),
        Term("||X||_F/n", "inputs", safe_log(facts.input_rms) - 0.5 * math.log(n)),
        product,
        sum_of(
            "(sum(||A_l^T||_{2,1}/||A_l||_2)^(2/3))^(3/2)",
            logs,
            "ratios of norms, on the grid",
            _CUBIC_ROOT,
        ),
    )
    return margin_bound(
        "Bartlett 2017",
        facts,
        factors,
        f"{SOURCE}, theorem 1.1",
        log_shares=shares,
        gamma=gamma,
        delta=delta,
        extra=(Term.of("8/n^1.5", 8 * n**-1.5, "end of Dudley's integral"),),
    )


def _log_ratio(layer: LayerFacts, norm: float) -> float:
    return math.log(norm / layer.spectral) if layer.spectral > 0 else -math.inf
