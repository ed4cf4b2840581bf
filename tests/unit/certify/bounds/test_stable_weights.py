"""Bounds of the 2021 paper: direct evaluation, random networks, simulated stable weights."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import gammaln

from prunable.certify.bounds.compressed_network import (
    dense_network_bound,
    extra_share,
    pruned_network_bound,
)
from prunable.certify.bounds.compression import Compression, NormBound, Observed
from prunable.certify.bounds.coverings import (
    log_binomial_by_entropy,
    log_cover_of_compressible,
    log_cover_of_pruned,
    log_gamma_ratio_by_entropy,
)
from prunable.certify.bounds.facts import default_tau
from prunable.certify.bounds.frobenius_perturbation import (
    loss_perturbation,
    perturbation_by_distance,
    perturbation_by_ratio,
    uniform_perturbation,
)
from prunable.certify.bounds.logs import log_expm1
from prunable.certify.bounds.rho import binary_entropy, rho, rho_limit, rho_peak, rho_upper
from prunable.certify.bounds.stable_weights import (
    StableLaws,
    dense_stable_bound,
    norm_quantile,
    scaled_network_bound,
    stable_network_bound,
    unit_scale,
)
from prunable.errors import InputError
from prunable.numerics.stable import StableLaw

MARGINS = np.random.default_rng(5).normal(3, 1.5, 4000)
COMPRESSION = Compression((600, 400, 50), (60, 40, 10), (0.1, 0.2, 0.15))


def seen(margins=MARGINS, compression=COMPRESSION, *, input_norm=1.3, tau=None):
    return Observed(margins, compression, input_norm=input_norm, tau=tau)


def output(matrices, x):
    for matrix in matrices[:-1]:
        x = np.maximum(matrix @ x, 0)
    return matrices[-1] @ x


def networks(count, depth=4, seed=0):
    """Random networks, relative changes of their layers, and inputs."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        sizes = rng.integers(2, 12, depth + 1)
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        scale = np.exp(rng.normal(0, 1, depth))
        a = [s * rng.standard_normal(shape) for s, shape in zip(scale, shapes, strict=True)]
        noise = [rng.standard_normal(shape) for shape in shapes]
        eps = rng.uniform(0, 0.5, depth)
        b = [
            m + e * np.linalg.norm(m) / np.linalg.norm(z) * z
            for m, z, e in zip(a, noise, eps, strict=True)
        ]
        yield a, b, eps, rng.standard_normal(sizes[0])


def test_entropy_and_log_expm1():
    assert binary_entropy(0.5) == pytest.approx(math.log(2))
    assert binary_entropy(0.0) == binary_entropy(1.0) == 0
    for x in (1e-300, 1e-8, 1.0, 40.0, 5e4):
        assert log_expm1(x) == pytest.approx(float(mpmath.log(mpmath.expm1(mpmath.mpf(x)))))
    assert log_expm1(0.0) == -math.inf


def test_perturbation_holds_on_random_networks():
    for a, b, eps, x in networks(300):
        norms = [np.linalg.norm(m) for m in a]
        moved = np.linalg.norm(output(a, x) - output(b, x))
        size = float(np.linalg.norm(x))
        ratio = perturbation_by_ratio(size, norms, list(eps)).value
        distance = perturbation_by_distance(
            size, norms, [e * w for e, w in zip(eps, norms, strict=True)]
        ).value
        total = math.sqrt(sum(w**2 for w in norms))
        assert moved <= ratio * (1 + 1e-12)
        assert distance == pytest.approx(ratio, rel=1e-10)
        assert ratio <= uniform_perturbation(size, total, max(eps), len(a)).value * (1 + 1e-10)


def test_perturbation_is_reached_by_one_unit_a_layer():
    """A chain of positive scalars moved upwards shows that lemma 1 is sharp."""
    weights, eps = [2.0, 0.5, 3.0], [0.1, 0.3, 0.2]
    moved = np.prod([w * (1 + e) for w, e in zip(weights, eps, strict=True)]) - np.prod(weights)
    assert perturbation_by_ratio(7.0, weights, eps).value == pytest.approx(7 * moved)


def test_perturbation_of_a_zero_layer():
    assert perturbation_by_distance(2.0, [0.0, 3.0], [0.5, 1.0]).value == pytest.approx(4.0)
    assert perturbation_by_ratio(2.0, [0.0, 3.0], [0.5, 1.0]).value == 0


def test_ramp_loss_is_lipschitz_on_random_networks():
    """Lemma 3 (ii): the ramp of width tau moves by at most Lip * v."""
    rng = np.random.default_rng(3)
    tau = 0.7
    for a, _, _, x in networks(200, depth=3, seed=4):
        total = math.sqrt(sum(np.linalg.norm(m) ** 2 for m in a))
        v = 0.3 * total / math.sqrt(3)
        b = []
        for matrix in a:
            z = rng.standard_normal(matrix.shape)
            b.append(matrix + v * z / np.linalg.norm(z))
        radius = max(total, math.sqrt(sum(np.linalg.norm(m) ** 2 for m in b)))
        bound = loss_perturbation(float(np.linalg.norm(x)), radius, v, 3, tau)

        def loss(network, x=x):
            logits = output(network, x)
            margin = logits[0] - logits[1:].max()
            return float(np.clip(1 - margin / tau, 0, 1))

        assert bound.assumptions[0].status == "holds"
        assert abs(loss(a) - loss(b)) <= bound.value * (1 + 1e-12)


def direct_theorem5(margins, kappa, d, layers, b, radius, tau, eps, n):
    """Theorem 5 in direct space, by mpmath."""
    h = lambda q: -q * mpmath.log(q) - (1 - q) * mpmath.log(1 - q)  # noqa: E731
    k = mpmath.mpf(kappa)
    lip = mpmath.sqrt(2) * b * layers * (2 * radius / mpmath.sqrt(layers)) ** (layers - 1) / tau
    eps_kappa = (2 * h(k) - k * mpmath.log(k)) / mpmath.log(n)
    gamma = tau + mpmath.sqrt(2) * b * (radius / mpmath.sqrt(layers)) ** layers * (
        (1 + mpmath.mpf(eps)) ** layers - 1
    )
    rate = mpmath.sqrt((k + eps_kappa) * mpmath.log(n) / n)
    return (
        np.mean(margins <= float(gamma)) + (12 * lip * radius + mpmath.sqrt(d)) * rate,
        float(gamma),
    )


@pytest.mark.parametrize(("norm", "tau"), [(1.5, 0.5), (0.01, 2.0), (30.0, 0.1)])
def test_theorem_5_against_direct_space(norm, tau):
    result = pruned_network_bound(seen(tau=tau), NormBound(norm))
    expected, _ = direct_theorem5(MARGINS, 110 / 1050, 1050, 3, 1.3, norm, tau, 0.2, len(MARGINS))
    assert result.value == pytest.approx(float(expected), rel=1e-12)
    assert result.delta == pytest.approx(0.05 + 2 * math.exp(-110 / 2), rel=1e-12)
    assert {a.status for a in result.assumptions if a.name.startswith("H1")} == {"holds"}


def test_theorem_5_in_log_space_beyond_doubles():
    deep = Compression((10,) * 60, (5,) * 60, (0.5,) * 60)
    result = pruned_network_bound(seen(MARGINS, deep, input_norm=1e5, tau=1e-3), NormBound(1e8))
    assert result.value == math.inf
    with mpmath.workdps(40):
        expected, _ = direct_theorem5(MARGINS, 0.5, 600, 60, 1e5, mpmath.mpf(1e8), 1e-3, 0.5, 4000)
        assert result.log_value == pytest.approx(float(mpmath.log(expected)), rel=1e-12)


def test_hypothesis_violated_by_how_much():
    claimed = Compression((600,), (60,), (0.3,), epsilon=0.1)
    result = pruned_network_bound(seen(MARGINS, claimed, tau=1.0), NormBound(1.0))
    assert [a.by for a in result.violated] == ["by a factor of 3"]
    small = pruned_network_bound(seen(MARGINS[:15], claimed, tau=1.0), NormBound(1.0))
    names = {a.name for a in small.violated}
    assert {"n/log(n) > 10 L", "n >= 16"} <= names
    outside = pruned_network_bound(seen(MARGINS, claimed, tau=1.0), NormBound(4.0, known=2.0))
    assert "by a factor of 2" in [a.by for a in outside.violated]


def test_a_posteriori_needs_no_promise_about_the_norm():
    paper = pruned_network_bound(seen(), NormBound(1.5))
    later = pruned_network_bound(seen(), NormBound(1.5), variant="a posteriori")
    assert "tau was chosen before the data" in {a.name for a in paper.violated}
    assert not later.violated
    assert later.delta < 1e-10
    tau = 2.0 ** math.floor(math.log2(default_tau(MARGINS)))
    expected, _ = direct_theorem5(MARGINS, 110 / 1050, 1050, 3, 1.3, 2.0, tau, 0.2, 4000)
    assert later.value == pytest.approx(float(expected), rel=1e-12)
    # 40 kept weights are paid for as 100, since their own statement would fail too often
    few = Compression((600, 400, 50), (20, 10, 10), (0.1, 0.2, 0.15))
    result = pruned_network_bound(seen(compression=few), NormBound(1.5), variant="a posteriori")
    assert result.term("kappa").value == pytest.approx(100 / 1050)
    assert result.delta == later.delta


def test_corollaries_are_theorem_5_at_their_norm():
    """With lemma 5's R(delta) theorem 5 gives corollary 2, and (4.4) turns it into corollary 1."""
    laws, delta = StableLaws((1.7, 1.8, 1.9), (0.01, 0.02, 0.03)), 0.05
    sigma = laws.sigma(COMPRESSION.sizes)
    d = COMPRESSION.d
    two = stable_network_bound(seen(tau=0.5), laws, delta=delta)
    # delta = d^-beta of theorem 5 is a third of the corollary's 3 d^-beta
    radius = norm_quantile(laws, COMPRESSION.sizes, delta / 3).value
    assert radius == pytest.approx(3 * sigma * math.sqrt(d) * (12 * d / delta) ** (1 / 1.7))
    expected, _ = direct_theorem5(MARGINS, COMPRESSION.kappa, d, 3, 1.3, radius, 0.5, 0.2, 4000)
    assert two.value == pytest.approx(float(expected), rel=1e-10)
    one = scaled_network_bound(seen(tau=0.5), laws)
    radius = norm_quantile(laws, COMPRESSION.sizes, d ** (-1.7 / 6)).value
    expected, _ = direct_theorem5(MARGINS, COMPRESSION.kappa, d, 3, 1.3, radius, 0.5, 0.2, 4000)
    assert one.value == pytest.approx(float(expected), rel=1e-10)
    assert one.delta == pytest.approx(3 * d ** (-1.7 / 6))


def test_stable_norms_stay_below_lemma_5():
    """The 1 - delta quantile of ||x|| of 2,000 simulated vectors lies below the lemma's R."""
    rng = np.random.default_rng(8)
    for alpha, delta in ((1.2, 0.1), (1.8, 0.05)):
        draws = StableLaw(alpha, unit_scale(alpha)).sample((2000, 200), rng)
        norms = np.linalg.norm(draws, axis=1)
        bound = norm_quantile(StableLaws((alpha,), (unit_scale(alpha),)), (200,), delta)
        assert np.quantile(norms, 1 - delta) < bound.value
        assert not bound.violated


def test_lemma_5_is_exceeded_surely_where_its_delta_is_too_large():
    """At alpha = 2 - 1e-6 and d = 1,000 all of 200 norms exceed R(.05), which says so.

    Were R right each would with probability .05: 200 of 200 has probability 1e-260.
    """
    alpha, d, delta, name = 2 - 1e-6, 1000, 0.05, "delta <= 2 d (2 - max alpha)^alpha"
    laws = StableLaws((alpha,), (1.0,))
    bound = norm_quantile(laws, (d,), delta)
    norms = np.linalg.norm(StableLaw(alpha).sample((200, d), np.random.default_rng(9)), axis=1)
    assert norms.min() > bound.value
    assert [a.name for a in bound.violated] == [name]
    assert math.exp(bound.violated[0].excess) == pytest.approx(delta / (2 * d * 1e-12), rel=1e-3)
    given = seen(compression=Compression((d,), (d // 2,), (0.2,)), tau=0.5)
    for result in (
        stable_network_bound(given, laws),
        scaled_network_bound(given, laws),
        dense_stable_bound(given, laws, 1.0),
    ):
        assert name in {a.name for a in result.violated}
    heavy = StableLaws((1.7,), (1.0,))
    assert name not in {a.name for a in stable_network_bound(given, heavy).violated}


def test_corollary_1_of_the_network_before_pruning():
    """Its factor is max(2, 2 rho a sigma_0^L / tau), sigma_0 from (4.4), worked out directly."""
    laws, layers, d, tau = StableLaws((1.7, 1.8, 1.9), (0.01, 0.02, 0.03)), 3, COMPRESSION.d, 0.5
    result = dense_stable_bound(seen(tau=tau), laws, 1.5)
    shrink = 4 ** (-1 / 1.7) * math.sqrt(layers) / 3 * d ** -(0.5 + 1 / 1.7)
    sigma_0 = laws.sigma(COMPRESSION.sizes) / shrink
    a = 6 * math.sqrt(2) * 1.3 * 2**layers * layers**1.5
    factor = max(2, 2 * rho(0.2, COMPRESSION.kappa, d) * a * sigma_0**layers / tau)
    expected = np.mean(tau >= MARGINS) + factor * math.sqrt(d * math.log(4000) / 4000)
    assert factor > 2
    assert result.value == pytest.approx(expected, rel=1e-10)
    assert result.delta == pytest.approx(d ** (-1.7 / 6) + 2 * math.exp(-d / 2))


def test_lemmas_7_and_8_for_all_small_sizes():
    """Entropies bound binomial coefficients, and for n > 10 their continuation to halves."""
    for n in range(1, 160):
        for m in range(n + 1):
            exact = math.log(math.comb(n, m))
            assert exact <= log_binomial_by_entropy(n, m) + 1e-9
            if n > 10:
                ratio = gammaln(n / 2 + 1) - gammaln(m / 2 + 1) - gammaln((n - m) / 2 + 1)
                assert ratio <= log_gamma_ratio_by_entropy(n, m) + 1e-9
    # of one coin in two, exact up to the root of the mean number of heads
    assert log_binomial_by_entropy(100, 50) == pytest.approx(100 * math.log(2))
    with pytest.raises(InputError, match="above 10"):
        log_gamma_ratio_by_entropy(10, 5)


def test_lemma_4_covers_pruned_vectors():
    """Masks times balls of kept dimensions, each covered by (3 R / v)^kept points, need no more."""
    for d, kept in ((12, 3), (50, 25), (80, 80), (30, 0)):
        union = math.log(math.comb(d, kept)) + kept * math.log(3 * 1.7 / 0.3)
        assert union <= log_cover_of_pruned(d, kept, 1.7, 0.3) + 1e-9
    # a grid of step 2 v / sqrt(2) in the three coordinate planes of a ball in 3 dimensions
    radius, distance = 1.0, 0.25
    axis = np.arange(-radius, radius + 1e-9, 2 * distance / math.sqrt(2))
    assert 3 * len(axis) ** 2 <= math.exp(log_cover_of_pruned(3, 2, radius, distance))


def test_lemma_6_covers_compressible_vectors():
    """The union of d choose kept ellipsoids, covered by their volumes, needs no more points."""
    radius, part = 2.0, 0.5
    for d in range(11, 60):
        for kept in range(d + 1):
            for eps in (0.05, 0.3, 0.9):
                distance = part * eps * radius
                volumes = gammaln(d / 2 + 1) - gammaln(kept / 2 + 1) - gammaln((d - kept) / 2 + 1)
                shape = kept * math.log(radius) + (d - kept) * math.log(eps * radius)
                masks = math.log(math.comb(d, kept))
                union = masks + d * math.log(3 / distance) + shape + volumes
                ball = d * math.log(3 * radius / distance)
                found = log_cover_of_compressible(d, kept, eps, radius, distance)
                assert min(union, ball) <= found + 1e-9
    with pytest.raises(InputError, match="at most epsilon R"):
        log_cover_of_compressible(20, 5, 0.1, 1.0, 0.2)


@pytest.mark.parametrize("alpha", [1.1, 1.5, 1.9])
def test_unit_scale_gives_the_tail(alpha):
    """P(|X| > x) x^alpha tends to 2 / alpha, by the law's own distribution function."""
    x = 3000.0
    tail = 2 * StableLaw(alpha, unit_scale(alpha)).cdf(-x)
    assert tail * x**alpha == pytest.approx(2 / alpha, rel=0.02)


def test_theorem_7():
    result = dense_network_bound(seen(tau=0.5), NormBound(1.5))
    n, d, layers = len(MARGINS), 1050, 3
    lip = math.sqrt(2) * 1.3 * 3 * (2 * 1.5 / math.sqrt(3)) ** 2 / 0.5
    factor = max(2, 24 * rho(0.2, 110 / 1050, d) * lip * 1.5 / math.sqrt(d))
    expected = np.mean(MARGINS <= 0.5) + factor * math.sqrt(d * math.log(n) / n)
    assert result.value == pytest.approx(expected, rel=1e-12)
    tiny = dense_network_bound(seen(input_norm=1e-9, tau=0.5), NormBound(1.5))
    assert tiny.term("max(2, ..)").value == 2
    needed = max(9 * layers, 81 * 0.2 ** (-2 * 110 / 1050))
    ratio = n / math.log(n)
    status = {a.name: a.status for a in result.assumptions}
    assert (status["n/log(n) > max(9 L, 81 eps^(-2 kappa))"] == "holds") == (ratio > needed)


def test_rho_follows_figure_11():
    """Values of min(eps^(1-kappa) exp(1.5 h_b), 1) worked out by hand-made arithmetic."""
    kappa = np.linspace(0, 1, 101)
    for eps in (0.01, 0.1, 0.5):
        curve = rho_limit(eps, kappa)
        assert curve[0] == pytest.approx(eps)
        assert curve[-1] == 1
        assert (np.diff(curve) >= -1e-15).all()
        assert (curve <= rho_upper(eps, kappa) + 1e-15).all()
        with mpmath.workdps(30):
            for k in (0.2, 0.5, 0.8):
                h = -k * mpmath.log(k) - (1 - mpmath.mpf(k)) * mpmath.log(1 - mpmath.mpf(k))
                value = min(mpmath.mpf(eps) ** (1 - mpmath.mpf(k)) * mpmath.exp(1.5 * h), 1)
                assert float(value) == pytest.approx(float(rho_limit(eps, k)), rel=1e-12)
                assert rho(eps, k, 1000) == pytest.approx(float(value), rel=1e-12)
        # the peak before the cut at 1, by search
        raw = eps ** (1 - kappa[1:-1]) * np.exp(
            1.5 * np.array([binary_entropy(k) for k in kappa[1:-1]])
        )
        assert abs(kappa[1:-1][np.argmax(raw)] - rho_peak(eps)) <= 0.01
    odd = rho(0.3, 0.4, 13)
    assert rho_limit(0.3, 0.4) * 0.8 < odd <= 1


def test_extra_share():
    assert extra_share(0.0, 100) == 0
    assert extra_share(0.5, 100) == pytest.approx(
        (2 * math.log(2) + 0.5 * math.log(2)) / math.log(100)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": []}, "training set must not be empty"),
        ({"margins": [1.0]}, "2 examples or more"),
        ({"margins": [1.0, math.nan]}, "1 NaN or infinite of 2"),
        ({"delta": 0.0}, "`delta`"),
        ({"delta": 1.0}, "`delta`"),
        ({"norm": 0.0}, "`norm`"),
        ({"input_norm": math.inf}, "`input_norm`"),
        ({"tau": -1.0}, "`tau`"),
    ],
)
def test_bad_input_is_named(change, message):
    weights = {"norm": 1.0, **{k: change.pop(k) for k in ("norm", "delta") if k in change}}
    with pytest.raises(InputError, match=message):
        pruned_network_bound(seen(**change), NormBound(**weights))


def test_bad_compression_and_tails_are_named():
    for sizes, kept, errors in (((), (), ()), ((5,), (6,), (0.1,)), ((5,), (1,), (math.nan,))):
        with pytest.raises(InputError, match="of `Compression` must be"):
            Compression(sizes, kept, errors)
    with pytest.raises(InputError, match=r"`alpha` .* inside \(1, 2\)"):
        unit_scale(2.0)
    with pytest.raises(InputError, match="`errors`"):
        perturbation_by_ratio(1.0, [1.0], [-0.1])
    with pytest.raises(InputError, match="`kappa`"):
        rho(0.1, 1.5, 10)
    with pytest.raises(InputError, match="`epsilon`"):
        rho_limit(0.0, 0.5)
    assert default_tau([-2.0, -1.0]) == 1.0
    assert default_tau([-2.0, *range(1, 200)]) == 1.0
