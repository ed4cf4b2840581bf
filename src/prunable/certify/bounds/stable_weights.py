"""Theorems 5 and 7 for stable weights: corollaries 1, 2 and lemma 5 of Barsbey et al. (2021)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import gamma as gamma_function

from prunable.certify.bounds.assumptions import Assumption, at_least, at_most
from prunable.certify.bounds.base import PRODUCT, BoundResult, Term
from prunable.certify.bounds.checks import check_delta, check_layers, check_positive
from prunable.certify.bounds.compressed_network import dense_network_bound, theorem_5
from prunable.certify.bounds.compression import NormBound, Observed
from prunable.certify.bounds.frobenius_perturbation import SOURCE
from prunable.certify.bounds.logs import log_expm1, safe_exp, safe_log
from prunable.errors import require


@dataclass(frozen=True)
class StableLaws:
    """Tail index, in (1, 2), and scale of each layer's weights, in exp(-|scale u|^alpha)."""

    alphas: tuple[float, ...]
    scales: tuple[float, ...]

    def sigma(self, sizes: Sequence[int]) -> float:
        """Root of the mean over weights of (scale_l / sigma_{alpha_l})^2, of the corollaries."""
        check_layers("StableLaws", scales=self.scales, sizes=sizes, alphas=self.alphas)
        for scale in self.scales:
            check_positive(scale, "scales", "StableLaws")
        d = sum(sizes)
        rows = zip(sizes, self.scales, self.alphas, strict=True)
        return math.sqrt(math.fsum(size / d * (s / unit_scale(a)) ** 2 for size, s, a in rows))

    def assumptions(self, seen: Observed, beta: float) -> tuple[Assumption, ...]:
        """Conditions of the corollaries, whose failure probability is 3 d^-beta.

        Lemma 5 gives them R(delta) at delta = d^-beta.
        """
        d = seen.compression.d
        needed = safe_log(2 * beta) - safe_log(seen.compression.kappa)
        return (
            Assumption(
                "weights are independent and alpha-stable given the training set",
                "unchecked",
                f"alpha = {', '.join(f'{a:.4g}' for a in self.alphas)}; see `prunable measure`",
            ),
            seen.compression.hypothesis(),
            self.small_failure(d, -beta * math.log(d)),
            at_least("d/log(d) >= 2 beta/kappa", math.log(d / math.log(d)), needed, "sizes"),
            *seen.sample_assumptions(),
            seen.choice,
        )

    def small_failure(self, d: int, log_delta: float) -> Assumption:
        """Whether lemma 5 speaks of so small a delta: at most 2 d (2 - max alpha)^alpha.

        Its tail bound starts beyond 4 sigma sqrt(d) / (2 - alpha); for larger delta R(delta) lies
        below that, and near alpha = 2 every vector exceeds it.
        """
        limit = math.log(2 * d) + min(self.alphas) * math.log(2 - max(self.alphas))
        said = f"d = {d}, alpha up to {max(self.alphas):.10g}"
        return at_most("delta <= 2 d (2 - max alpha)^alpha", log_delta, limit, said)


def unit_scale(alpha: float) -> float:
    """Scale at which P(|X| > x) ~ (2 / alpha) x^-alpha, sigma_alpha of corollary 1.

    (2 Gamma(-alpha) cos((2 - alpha) pi / 2))^(1/alpha).
    """
    _check_alpha(alpha, "unit_scale")
    tail = 2 * float(gamma_function(-alpha)) * math.cos((2 - alpha) * math.pi / 2)
    return math.exp(math.log(tail) / alpha)


def norm_quantile(laws: StableLaws, sizes: Sequence[int], delta: float) -> BoundResult:
    """Bound R(delta), which ||w|| of all weights exceeds with probability delta: lemma 5.

    3 sigma sqrt(d) (4 d / delta)^(1/alpha), d the sum of the layers' `sizes`, sigma that of the
    laws and alpha their smallest tail index; it holds for delta <= 2 d (2 - max alpha)^alpha.

    >>> norm_quantile(StableLaws((1.999999,), (1.0,)), (1000,), 0.05).violated[0].name
    'delta <= 2 d (2 - max alpha)^alpha'
    """
    check_delta(delta, "norm_quantile")
    d, sigma, alpha = sum(sizes), laws.sigma(sizes), min(laws.alphas)
    return BoundResult(
        "norm of stable weights",
        (
            Term.of("3", 3.0, "constant of the tail"),
            Term.of("sigma", sigma, "scale of the weights"),
            Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights"),
            Term("(4 d/delta)^(1/alpha)", f"alpha = {alpha:.4g}", math.log(4 * d / delta) / alpha),
        ),
        PRODUCT,
        (laws.small_failure(d, math.log(delta)),),
        f"{SOURCE}, lemma 5",
        delta=delta,
        quantity="moment",
    )


def stable_network_bound(seen: Observed, laws: StableLaws, *, delta: float = 0.05) -> BoundResult:
    """Bound the risk of a pruned network of stable weights: corollary 2.

    The failure probability 3 d^-beta gives beta.
    """
    check_delta(delta, "stable_network_bound")
    d, layers = seen.compression.d, seen.compression.depth
    sigma, alpha = laws.sigma(seen.compression.sizes), min(laws.alphas)
    beta = math.log(3 / delta) / math.log(d)
    power = layers * (alpha + 2 * beta + 2) / (2 * alpha)
    growth = log_expm1(layers * math.log1p(seen.compression.claimed))
    root2b = math.log(math.sqrt(2) * seen.input_norm)
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
    return theorem_5(
        seen,
        "pruned network of stable weights",
        "corollary 2 (E.28)",
        Term.made(
            "c_L(alpha) sigma^L d^{..}/tau",
            PRODUCT,
            "size of the set of weights",
            Term("c_L(alpha)", f"constant, alpha = {alpha:.4g}", constant, "corollary 2"),
            Term("sigma^L", f"scales, sigma = {sigma:.4g}", layers * math.log(sigma)),
            Term("d^(L(alpha+2beta+2)/(2alpha))", f"beta = {beta:.4g}", power * math.log(d)),
            _inverse(seen.tau),
            equation="(E.28)",
        ),
        gamma=seen.tau + safe_exp(log_gamma_extra),
        delta=delta,
        assumptions=laws.assumptions(seen, beta),
    )


def scaled_network_bound(seen: Observed, laws: StableLaws) -> BoundResult:
    """Bound the risk of a pruned network whose scales shrink with its size: corollary 1.

    Its `delta` is 3 d^(-alpha / (2 L)), which cannot be chosen.
    """
    d, layers = seen.compression.d, seen.compression.depth
    sigma, alpha = laws.sigma(seen.compression.sizes), min(laws.alphas)
    # (4.4) solved for the constant sigma_0
    log_sigma0 = (
        math.log(3 * sigma)
        + math.log(4) / alpha
        - 0.5 * math.log(layers)
        + (0.5 + 1 / alpha) * math.log(d)
    )
    growth = log_expm1(layers * math.log1p(seen.compression.claimed))
    root2b = math.log(math.sqrt(2) * seen.input_norm)
    log_gamma_extra = root2b + growth + layers * log_sigma0 + 0.5 * math.log(d)
    constant = (
        math.log(6 * math.sqrt(2) * seen.input_norm) + layers * math.log(2) + 1.5 * math.log(layers)
    )
    beta = alpha / (2 * layers)
    return theorem_5(
        seen,
        "pruned network of scaled stable weights",
        "corollary 1 (4.5)",
        Term.made(
            "a sigma_0^L sqrt(d)/tau",
            PRODUCT,
            "size of the set of weights",
            Term("a", "6 sqrt(2) B 2^L L^1.5", constant, "corollary 1"),
            Term("sigma_0^L", "scale constant of (4.4)", layers * log_sigma0, "(4.4)"),
            Term.of("sqrt(d)", math.sqrt(d), f"d = {d} weights"),
            _inverse(seen.tau),
            equation="(4.5)",
        ),
        gamma=seen.tau + safe_exp(log_gamma_extra),
        delta=3 * d**-beta,
        assumptions=laws.assumptions(seen, beta),
    )


def dense_stable_bound(seen: Observed, laws: StableLaws, norm: float) -> BoundResult:
    """Bound the risk of a network of stable weights before pruning: corollary 1, by theorem 7.

    R^_tau + max(2, 2 rho a sigma_0^L / tau) sqrt(d log(n) / n), a and sigma_0 those of corollary 1:
    the result that the end of appendix B announces, theorem 7 at lemma 5's R(delta) for delta =
    d^(-alpha / (2 L)). `norm` is that of all weights of the network at hand.
    """
    d, layers, alpha = seen.compression.d, seen.compression.depth, min(laws.alphas)
    beta = alpha / (2 * layers)
    radius = norm_quantile(laws, seen.compression.sizes, d**-beta)
    found = dense_network_bound(seen, NormBound(norm, radius.delta or 0.0, radius.value))
    return replace(
        found,
        name="dense network of scaled stable weights",
        assumptions=(*found.assumptions, *laws.assumptions(seen, beta)[:1], *radius.assumptions),
        source=f"{SOURCE}, appendix B (corollary 1 by theorem 7)",
    )


def _inverse(tau: float) -> Term:
    return Term("1/tau", "inverse margin", -math.log(tau))


def _check_alpha(alpha: float, where: str) -> None:
    action = "The corollaries know no other tail index."
    require(1 < alpha < 2, "alpha", where, "inside (1, 2)", alpha, action)
