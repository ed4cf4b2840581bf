"""Theorem 5 for stable weights: corollaries 1 and 2 and lemma 5 of Barsbey et al. (2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma as gamma_function

from prunable.certify.bounds.base import (
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
from prunable.certify.bounds.compressed_network import rate_term
from prunable.certify.bounds.compression import (
    Compression,
    default_tau,
    sample_assumptions,
    tau_choice,
)
from prunable.certify.bounds.entropy import log_expm1
from prunable.certify.bounds.facts import check_margins, margin_loss
from prunable.certify.bounds.frobenius_perturbation import SOURCE
from prunable.errors import InputError


def unit_scale(alpha: float) -> float:
    """Scale at which P(|X| > x) ~ (2 / alpha) x^-alpha, sigma_alpha of corollary 1.

    Parameters
    ----------
    alpha : float
        Tail index, in (1, 2).

    Returns
    -------
    float
        (2 Gamma(-alpha) cos((2 - alpha) pi / 2))^(1/alpha).

    Raises
    ------
    InputError
        If `alpha` is not inside (1, 2).
    """
    _check_alpha(alpha, "unit_scale")
    tail = 2 * float(gamma_function(-alpha)) * math.cos((2 - alpha) * math.pi / 2)
    return math.exp(math.log(tail) / alpha)


def mean_scale(sizes: Sequence[int], scales: Sequence[float], alphas: Sequence[float]) -> float:
    """Root of the mean over weights of (scale_l / sigma_{alpha_l})^2: sigma of the corollaries.

    Raises
    ------
    InputError
        If the layers' numbers differ or are out of range.
    """
    if not sizes or not len(sizes) == len(scales) == len(alphas):
        raise InputError.parameter("scales", "mean_scale", "one number a layer", len(scales))
    for scale in scales:
        check_positive(scale, "scales", "mean_scale")
    d = sum(sizes)
    rows = zip(sizes, scales, alphas, strict=True)
    return math.sqrt(math.fsum(size / d * (s / unit_scale(a)) ** 2 for size, s, a in rows))


def log_norm_quantile(sigma: float, d: int, alpha: float, delta: float) -> float:
    """Bound R(delta), which ||w|| exceeds with probability delta: lemma 5.

    Parameters
    ----------
    sigma : float
        Of `mean_scale`.
    d : int
        Weights.
    alpha : float
        Smallest tail index of a layer, in (1, 2).
    delta : float
        In (0, 1).

    Returns
    -------
    float
        Natural logarithm of 3 sigma sqrt(d) (4 d / delta)^(1/alpha).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "log_norm_quantile"
    _check_alpha(alpha, where)
    check_delta(delta, where)
    check_positive(sigma, "sigma", where)
    return math.log(3 * sigma) + 0.5 * math.log(d) + math.log(4 * d / delta) / alpha


def stable_network_bound(
    margins: ArrayLike,
    compression: Compression,
    *,
    input_norm: float,
    alphas: Sequence[float],
    scales: Sequence[float],
    delta: float = 0.05,
    tau: float | None = None,
) -> BoundResult:
    """Bound the risk of a pruned network of stable weights: corollary 2.

    Parameters
    ----------
    margins : array_like, shape (n,)
        Of the dense network on the training set.
    compression : Compression
    input_norm : float
        B.
    alphas, scales : sequence of float
        Tail index, in (1, 2), and scale of the weights of each layer, in exp(-|scale u|^alpha).
    delta : float
        Failure probability 3 d^-beta, which gives beta.
    tau : float, optional
        Margin, see `default_tau`.

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "stable_network_bound"
    checked = check_margins(margins, where)
    check_delta(delta, where)
    check_positive(input_norm, "input_norm", where)
    n, d, layers = checked.size, compression.d, compression.depth
    if n < 2:
        raise InputError.parameter("margins", where, "2 examples or more", n)
    sigma, alpha = mean_scale(compression.sizes, scales, alphas), min(alphas)
    choice = tau_choice(tau)
    tau = default_tau(checked) if tau is None else check_positive(tau, "tau", where)
    beta = math.log(3 / delta) / math.log(d)
    power = layers * (alpha + 2 * beta + 2) / (2 * alpha)
    growth = log_expm1(layers * math.log1p(compression.claimed))
    root2b = math.log(math.sqrt(2) * input_norm)
    log_gamma_extra = (
        root2b
        + layers * math.log(3)
        + layers / alpha * math.log(4)
        + growth
        - layers / 2 * math.log(layers)
        + layers * math.log(sigma)
        + power * math.log(d)
    )
    constant = (
        math.log(6)
        + root2b
        + layers * math.log(6)
        + layers / alpha * math.log(4)
        + (3 - layers) / 2 * math.log(layers)
    )
    weight = Term.made(
        "c_L(alpha) sigma^L d^{..}/tau",
        PRODUCT,
        (
            Term("c_L(alpha)", f"constant, alpha = {alpha:.4g}", constant, "corollary 2"),
            Term("sigma^L", f"scales, sigma = {sigma:.4g}", layers * math.log(sigma)),
            Term("d^(L(alpha+2beta+2)/(2alpha))", f"beta = {beta:.4g}", power * math.log(d)),
            Term("1/tau", "inverse margin", -math.log(tau)),
        ),
        "size of the set of weights",
        "(E.28)",
    )
    return _result(
        "pruned network of stable weights",
        "corollary 2 (E.28)",
        checked,
        compression,
        weight,
        tau + safe_exp(log_gamma_extra),
        delta,
        (*_assumptions(compression, alphas, beta, n), choice),
    )


def scaled_network_bound(
    margins: ArrayLike,
    compression: Compression,
    *,
    input_norm: float,
    alphas: Sequence[float],
    scales: Sequence[float],
    tau: float | None = None,
) -> BoundResult:
    """Bound the risk of a pruned network whose scales shrink with its size: corollary 1.

    Parameters
    ----------
    margins, compression, input_norm, alphas, scales, tau
        See `stable_network_bound`.

    Returns
    -------
    BoundResult
        Its `delta` is 3 d^(-alpha / (2 L)), which cannot be chosen.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "scaled_network_bound"
    checked = check_margins(margins, where)
    check_positive(input_norm, "input_norm", where)
    n, d, layers = checked.size, compression.d, compression.depth
    if n < 2:
        raise InputError.parameter("margins", where, "2 examples or more", n)
    sigma, alpha = mean_scale(compression.sizes, scales, alphas), min(alphas)
    choice = tau_choice(tau)
    tau = default_tau(checked) if tau is None else check_positive(tau, "tau", where)
    # (4.4) solved for the constant sigma_0
    log_sigma0 = (
        math.log(3 * sigma)
        + math.log(4) / alpha
        - 0.5 * math.log(layers)
        + (0.5 + 1 / alpha) * math.log(d)
    )
    growth = log_expm1(layers * math.log1p(compression.claimed))
    log_gamma_extra = (
        math.log(math.sqrt(2) * input_norm) + growth + layers * log_sigma0 + 0.5 * math.log(d)
    )
    constant = (
        math.log(6 * math.sqrt(2) * input_norm) + layers * math.log(2) + 1.5 * math.log(layers)
    )
    weight = Term.made(
        "a sigma_0^L sqrt(d)/tau",
        PRODUCT,
        (
            Term("a", "6 sqrt(2) B 2^L L^1.5", constant, "corollary 1"),
            Term("sigma_0^L", "scale constant of (4.4)", layers * log_sigma0, "(4.4)"),
            Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights"),
            Term("1/tau", "inverse margin", -math.log(tau)),
        ),
        "size of the set of weights",
        "(4.5)",
    )
    beta = alpha / (2 * layers)
    return _result(
        "pruned network of scaled stable weights",
        "corollary 1 (4.5)",
        checked,
        compression,
        weight,
        tau + safe_exp(log_gamma_extra),
        3 * d**-beta,
        (*_assumptions(compression, alphas, beta, n), choice),
    )


def _result(
    name: str,
    statement: str,
    margins: NDArray[np.float64],
    compression: Compression,
    weight: Term,
    gamma: float,
    delta: float,
    assumptions: tuple[Assumption, ...],
) -> BoundResult:
    n, d, kappa = margins.size, compression.d, compression.kappa
    empirical = Term.of(
        "R^_gamma(w)",
        margin_loss(margins, gamma),
        f"share of training margins of the dense network up to gamma = {gamma:.4g}",
        statement,
    )
    factor = Term.made(
        "weights + sqrt(d)",
        SUM,
        (weight, Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights")),
        "norm and dimension",
        statement,
    )
    complexity = Term.made(
        "complexity", PRODUCT, (factor, rate_term(kappa, n)), "price of generalization", statement
    )
    return BoundResult(
        name, (empirical, complexity), SUM, assumptions, f"{SOURCE}, {statement}", n=n, delta=delta
    )


def _assumptions(
    compression: Compression, alphas: Sequence[float], beta: float, n: int
) -> tuple[Assumption, ...]:
    d, kappa = compression.d, compression.kappa
    needed = safe_log(2 * beta) - safe_log(kappa)
    return (
        Assumption(
            "weights are independent and alpha-stable given the training set",
            "unchecked",
            f"alpha = {', '.join(f'{a:.4g}' for a in alphas)}; see `prunable measure`",
        ),
        compression.hypothesis(0.0),
        at_least("d/log(d) >= 2 beta/kappa", math.log(d / math.log(d)), needed, "sizes"),
        *sample_assumptions(n, compression.depth),
    )


def _check_alpha(alpha: float, where: str) -> None:
    if not 1 < alpha < 2:
        raise InputError.parameter(
            "alpha", where, "inside (1, 2)", alpha, "The corollaries know no other tail index."
        )
