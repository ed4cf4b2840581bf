"""Baselines: norms by brute force, direct evaluation, coverage where it can be simulated."""

import itertools
import math

import numpy as np
import pytest

from prunable.certify.bounds import grid
from prunable.certify.bounds.arora2018 import NoiseStability, measure_stability
from prunable.certify.bounds.comparison import like_with_like
from prunable.certify.bounds.facts import margin_loss
from prunable.certify.bounds.matrix_facts import layer_facts, log_path_norms, network_facts
from prunable.certify.bounds.naive_counting import parameter_count, weights_bound
from prunable.certify.bounds.of_network import (
    BOUNDS,
    COVER,
    COVERING,
    FROBENIUS,
    PATHS,
    SPECTRAL,
    all_bounds,
)
from prunable.certify.bounds.pruning_moments import kept_share
from prunable.errors import InputError

RNG = np.random.default_rng(0)
SIZES = (6, 8, 7, 3)
MATRICES = [RNG.standard_normal((m, n)) for m, n in zip(SIZES[1:], SIZES[:-1], strict=True)]
X = RNG.standard_normal((500, 6))
MARGINS = RNG.gamma(3, 1, 500) + 0.2
FACTS = network_facts(MATRICES, MARGINS, X)
N = 500


def spectral(m):
    return np.linalg.norm(m, 2)


def test_layer_facts_by_brute_force():
    a = MATRICES[0]
    b = np.where(np.abs(a) > 0.5, a, 0.0)
    found = layer_facts("a", a, b)
    assert found.spectral == pytest.approx(spectral(a), rel=1e-12)
    assert found.frobenius == pytest.approx(math.sqrt((a**2).sum()), rel=1e-14)
    assert found.rows_21 == pytest.approx(sum(math.sqrt(sum(r**2)) for r in a), rel=1e-13)
    assert found.columns_12 == pytest.approx(
        math.sqrt(sum(sum(abs(c)) ** 2 for c in a.T)), rel=1e-13
    )
    assert found.change_spectral == pytest.approx(spectral(b - a), rel=1e-12)
    assert found.relative_error == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert (found.weights, found.pruned_kept) == (48, np.count_nonzero(b))
    assert found.row_count == max(np.count_nonzero(row) for row in b)
    assert found.column_count == max(np.count_nonzero(column) for column in b.T)
    centred = a - a.mean()
    assert found.excess_kurtosis == pytest.approx(
        (centred**4).mean() / (centred**2).mean() ** 2 - 3
    )


def test_path_norms_by_listing_paths():
    total = {1: np.zeros(3), 2: np.zeros(3)}
    for path in itertools.product(*[range(size) for size in SIZES]):
        weight = math.prod(MATRICES[i][path[i + 1], path[i]] for i in range(len(MATRICES)))
        total[1][path[-1]] += abs(weight)
        total[2][path[-1]] += weight**2
    l1, l2 = log_path_norms(MATRICES)
    assert math.exp(l1) == pytest.approx(total[1].max(), rel=1e-12)
    assert math.exp(l2) == pytest.approx(total[2].max(), rel=1e-12)
    assert log_path_norms([np.zeros((2, 2))]) == (-math.inf, -math.inf)


def test_capacities_directly():
    margin = MARGINS.min()
    frob = [np.linalg.norm(m) for m in MATRICES]
    spec = [spectral(m) for m in MATRICES]
    product = np.prod(spec) ** 2
    rows = [np.linalg.norm(m, axis=1).sum() for m in MATRICES]
    columns = [np.linalg.norm(np.abs(m).sum(axis=0)) for m in MATRICES]
    ratio = [(f / s) ** 2 for f, s in zip(frob, spec, strict=True)]
    expected = {
        FROBENIUS.capacity(FACTS): np.prod(frob) ** 2,
        SPECTRAL.capacity(FACTS): product
        * sum(m.shape[1] * r for m, r in zip(MATRICES, ratio, strict=True)),
        SPECTRAL.capacity(FACTS, variant="paper"): (3 * np.linalg.norm(X, axis=1).max()) ** 2
        * 8
        * math.log(24)
        * product
        * sum(ratio),
        COVERING.capacity(FACTS, variant="authors-code"): product * sum(ratio),
        COVERING.capacity(FACTS, variant="authors-intended"): product
        * sum((c / s) ** 2 for c, s in zip(columns, spec, strict=True)),
        COVERING.capacity(FACTS): product
        * sum((r / s) ** (2 / 3) for r, s in zip(rows, spec, strict=True)) ** 3,
        COVER.capacity(FACTS): product,
        PATHS[0].capacity(FACTS): math.exp(2 * FACTS.path_l1),
        PATHS[1].capacity(FACTS): math.exp(FACTS.path_l2_squared),
    }
    for result, value in expected.items():
        assert result.value == pytest.approx(value / margin**2, rel=1e-10), result
        assert result.quantity == "capacity"
        assert not result.vacuous
    # with one input dimension everywhere the released code's two rows differ by its logarithm
    square = network_facts([np.eye(9)] * 4, np.ones(5), np.ones((5, 9)))
    gap = (
        SPECTRAL.capacity(square).log_value
        - COVERING.capacity(square, variant="authors-code").log_value
    )
    assert gap == pytest.approx(math.log(9), rel=1e-12)


def test_normalised_bounds_directly():
    """Each from its formula, at the grid points that its terms name."""
    delta, gamma = 0.05, 0.5
    low, share = grid.down(math.log(gamma))
    g = math.exp(low)
    loss = np.mean(g >= MARGINS)
    rms, top = math.sqrt((X**2).sum() / N), np.abs(X).max()

    def tail(*shares):
        log_delta = math.log(delta) + share + sum(shares)
        return 3 * math.sqrt((math.log(2) - log_delta) / (2 * N))

    p, s = grid.up(FACTS.log_frobenius_product)
    expected = loss + 4 * 3 * 4 * math.exp(p) * rms / math.sqrt(N) / g + tail(s)
    found = FROBENIUS.bound(FACTS, gamma=gamma, delta=delta)
    assert found.value == pytest.approx(expected, rel=1e-12)

    p, s = grid.up(FACTS.path_l1)
    inputs = top * math.sqrt(2 * math.log(12) / N)
    expected = loss + 4 * 3 * 4 * math.exp(p) * inputs / g + tail(s)
    assert PATHS[0].bound(FACTS, gamma=gamma).value == pytest.approx(expected, rel=1e-12)

    p, s = grid.up(FACTS.path_l2_squared / 2)
    expected = loss + 4 * 3 * 4 * 8 * math.exp(p) * rms / math.sqrt(N) / g + tail(s)
    assert PATHS[1].bound(FACTS, gamma=gamma).value == pytest.approx(expected, rel=1e-12)

    p, s = grid.up(FACTS.log_spectral_product)
    ratios = [grid.up(math.log(np.linalg.norm(m, axis=1).sum() / spectral(m))) for m in MATRICES]
    rate = 72 * math.sqrt(math.log(128)) * math.log(N) * rms / math.sqrt(N) / g * math.exp(p)
    rate *= sum(math.exp(2 * r / 3) for r, _ in ratios) ** 1.5
    expected = loss + 8 / N**1.5 + rate + tail(s, *[t for _, t in ratios])
    assert COVERING.bound(FACTS, gamma=gamma).value == pytest.approx(expected, rel=1e-12)

    b = np.linalg.norm(X, axis=1).max()
    kl = (42 * math.e) ** 2 / 2 * b**2 * 9 * 8 * math.log(96)
    kl *= np.prod([spectral(m) for m in MATRICES]) ** 2 / g**2
    kl *= sum((np.linalg.norm(m) / spectral(m)) ** 2 for m in MATRICES)
    nats = math.log(6 * N / delta * 3 * N ** (1 / 6)) - share
    expected = loss + 4 * math.sqrt((kl + nats) / (N - 1))
    assert SPECTRAL.bound(FACTS, gamma=gamma).value == pytest.approx(expected, rel=1e-12)

    p, s = grid.up(FACTS.log_spectral_product)
    distance = min(g / (2 * math.sqrt(2) * math.e * b * 3 * math.exp(p)), math.exp(-0.1) / 3)
    nats = FACTS.weights * math.log(1 + 2 / distance) - math.log(delta) - share - s
    expected = loss + math.sqrt(nats / (2 * N))
    assert COVER.bound(FACTS, gamma=gamma).value == pytest.approx(expected, rel=1e-12)


def test_cover_moves_margins_by_half_a_margin_at_most():
    """Networks at the cover's relative distance change every margin by less than gamma / 2."""
    rng = np.random.default_rng(1)
    gamma = 0.5
    found = COVER.bound(FACTS, gamma=gamma)
    nats = found.term("ln(1+2/b)").value
    distance = 2 / (math.exp(nats) - 1)

    def margins(matrices):
        h = X
        for m in matrices[:-1]:
            h = np.maximum(h @ m.T, 0)
        logits = h @ matrices[-1].T
        return logits[:, 0] - logits[:, 1:].max(axis=1)

    for _ in range(20):
        noise = [rng.standard_normal(m.shape) for m in MATRICES]
        moved = [
            m + distance * spectral(m) * z / spectral(z)
            for m, z in zip(MATRICES, noise, strict=True)
        ]
        assert np.abs(margins(moved) - margins(MATRICES)).max() < gamma / 2


def test_rademacher_complexity_of_linear_predictors_stays_below_its_term():
    """Depth 1 and the Frobenius ball: simulated complexity of the ramp loss is below the bound's.

    For signs s the supremum over the ball is found by 200 steps of gradient ascent, a lower
    bound; the claim is one-sided.
    """
    rng = np.random.default_rng(2)
    x = rng.standard_normal((40, 3))
    y = rng.integers(0, 3, 40)
    gamma, radius = math.exp(-0.5), 1.0
    rows = np.arange(40)
    best = []
    for _ in range(30):
        signs = rng.choice([-1.0, 1.0], 40)
        w, top = rng.standard_normal((3, 3)) * 0.1, -np.inf
        for _ in range(200):
            w *= min(1.0, radius / np.linalg.norm(w))
            logits = x @ w.T
            rival = logits.copy()
            rival[rows, y] = -np.inf
            other = rival.argmax(axis=1)
            margin = logits[rows, y] - logits[rows, other]
            top = max(top, float(signs @ np.clip(1 - margin / gamma, 0, 1)) / 40)
            slope = np.where((margin > 0) & (margin < gamma), -signs / gamma, 0.0)
            step = np.zeros((3, 3))
            np.add.at(step, y, slope[:, None] * x)
            np.add.at(step, other, -slope[:, None] * x)
            w += 0.05 * step
        best.append(top)
    w = rng.standard_normal((3, 3))
    w /= np.linalg.norm(w)
    facts = network_facts([w], np.full(40, 1.0), x)
    found = FROBENIUS.bound(facts, gamma=gamma)
    assert 2 * np.mean(best) < found.term("complexity").value


def test_grid_shares_are_a_distribution():
    values = np.arange(-200_000, 200_001) * grid.STEP
    total = sum(math.exp(grid.up(v - 1e-9)[1]) for v in values[::1])
    assert total == pytest.approx(1.0, abs=1e-4)
    for value in (-3.21, 0.0, 0.05, 12.3):
        up, _ = grid.up(value)
        down, _ = grid.down(value)
        assert value <= up < value + grid.STEP + 1e-12
        assert value - grid.STEP - 1e-12 < down <= value


def test_counting_of_weights():
    dense = weights_bound(FACTS, delta=0.1)
    nats = FACTS.weights * 32 * math.log(2)
    expected = np.mean(MARGINS <= 0) + math.sqrt((nats + math.log(10)) / (2 * N))
    assert dense.value == pytest.approx(expected, rel=1e-13)
    pruned = [np.where(np.abs(m) > 1, m, 0) for m in MATRICES]
    facts = network_facts(MATRICES, MARGINS, X, pruned=pruned)
    kept = weights_bound(facts, bits=8, delta=0.1, pruned_margins=MARGINS - 1)
    nats = sum(
        math.log(math.comb(m.size, np.count_nonzero(m)) * (m.size + 1))
        + np.count_nonzero(m) * 8 * math.log(2)
        for m in pruned
    )
    expected = np.mean(MARGINS <= 1) + math.sqrt((nats + math.log(10)) / (2 * N))
    assert kept.value == pytest.approx(expected, rel=1e-13)
    assert parameter_count(FACTS, "dense").value == pytest.approx(48 + 56 + 21)
    sketch = parameter_count(FACTS, "sketch", 0.5).value
    assert sketch == pytest.approx(
        kept_share(0.5) * (48 + 56) * math.log(8) ** 2 + kept_share(0.5) * 21 * math.log(7) ** 2
    )
    with pytest.raises(InputError, match="`what`"):
        parameter_count(FACTS, "sketch")


def test_noise_stability_by_brute_force():
    """Cushions against Jacobians from finite differences, on one example at a time."""
    x = X[:4]
    found = measure_stability(MATRICES, x)
    depth = len(MATRICES)

    def from_output(i, start, j):
        """Output of layer j of what leaves layer i."""
        h = start
        for m in MATRICES[i + 1 : j + 1]:
            h = m @ np.maximum(h, 0)
        return h

    cushions, inter, c = [np.inf] * depth, [1.0] * depth, 1.0
    for example in x:
        h = example
        for i, m in enumerate(MATRICES):
            out = m @ h
            cushions[i] = min(
                cushions[i], np.linalg.norm(out) / np.linalg.norm(m) / np.linalg.norm(h)
            )
            inter[i] = min(inter[i], 1 / math.sqrt(len(out)))
            for j in range(i + 1, depth):
                basis = 1e-6 * np.eye(len(out))
                jacobian = np.stack(
                    [
                        (from_output(i, out + e, j) - from_output(i, out - e, j)) / 2e-6
                        for e in basis
                    ],
                    axis=1,
                )
                value = np.linalg.norm(jacobian @ out)
                value /= np.linalg.norm(jacobian) * np.linalg.norm(out)
                inter[i] = min(inter[i], value)
            if i + 1 < depth:
                h = np.maximum(out, 0)
                c = max(c, np.linalg.norm(out) / np.linalg.norm(h))
    assert found.cushions == pytest.approx(cushions, rel=1e-9)
    assert found.interlayer == pytest.approx(inter, rel=1e-6)
    assert found.activation == pytest.approx(c, rel=1e-9)
    capacity = NoiseStability(found).capacity(FACTS)
    total = sum(1 / (a * b) ** 2 for a, b in zip(cushions, inter, strict=True))
    expected = (c * 3 * found.output_norm) ** 2 * total / MARGINS.min() ** 2
    assert capacity.value == pytest.approx(expected, rel=1e-5)
    result = NoiseStability(found, bits=16).bound(FACTS, gamma=1.0, delta=0.1)
    low, share = grid.down(0.0)
    count = 2 * 72 * (c * 3 * found.output_norm) ** 2 * total * math.log(N * 3 * 8 / 0.1)
    nats = count * 16 * math.log(2) - math.log(0.1) - share
    assert result.value == pytest.approx(
        np.mean(math.exp(low) >= MARGINS) + math.sqrt(nats / (2 * N)), rel=1e-5
    )
    assert "unchecked" in {a.status for a in result.assumptions}


def test_margins_at_most_zero_make_capacities_infinite():
    wrong = network_facts(MATRICES, np.array([2.0, -0.25, 1.0]), X[:3])
    for result in (FROBENIUS.capacity(wrong), COVERING.capacity(wrong)):
        assert result.value == math.inf
        assert result.violated[0].by == "by 0.25"
        assert result.to_dict()["value"] is None
    # bounds fall back to a positive quantile of the margins
    assert FROBENIUS.bound(wrong).term("R^_gamma").value == pytest.approx(2 / 3)
    hopeless = network_facts(MATRICES, np.array([-2.0, -0.25, -1.0]), X[:3])
    for method in BOUNDS:
        result = method.bound(hopeless)
        assert result.vacuous
        assert result.violated[0].by == "by 0"


def test_input_bound_is_checked():
    tight = network_facts(MATRICES, MARGINS, X, input_bound=100.0)
    assert SPECTRAL.bound(tight).term("B^2").value == pytest.approx(1e4)
    wrong = network_facts(MATRICES, MARGINS, X, input_bound=1.0)
    factor = np.linalg.norm(X, axis=1).max()
    missed = [a for a in SPECTRAL.bound(wrong).violated if "norm B" in a.name]
    assert math.exp(missed[0].excess) == pytest.approx(factor)


def test_folded_biases_are_the_same_network():
    rng = np.random.default_rng(3)
    biases = [rng.standard_normal(m.shape[0]) for m in MATRICES]
    folded = network_facts(MATRICES, MARGINS, X, biases=biases, fold=True)
    left_out = network_facts(MATRICES, MARGINS, X, biases=biases)
    assert folded.biases == 0
    assert folded.weights == sum(m.size for m in MATRICES) + 18
    assert folded.no_biases().status == "holds"
    assert left_out.no_biases().by == "by 18"
    assert left_out.layers == FACTS.layers
    assert folded.layers[0].variance == FACTS.layers[0].variance
    wide = np.concatenate([MATRICES[0], biases[0][:, None]], axis=1)
    wide = np.concatenate([wide, [[0.0] * 6 + [1.0]]])
    assert folded.layers[0].spectral == pytest.approx(spectral(wide), rel=1e-12)
    assert folded.input_norm == pytest.approx(math.hypot(1, FACTS.input_norm))
    moved = [biases[0] + 1, *biases[1:]]
    other = network_facts(
        MATRICES, MARGINS, X, pruned=MATRICES, biases=biases, pruned_biases=moved, fold=True
    )
    assert other.layers[0].change_spectral == pytest.approx(math.sqrt(8))
    assert not other.layers[1].change_spectral


def test_like_with_like():
    pruned = [np.where(np.abs(m) > 0.3, m, 0) for m in MATRICES]
    facts = network_facts(MATRICES, MARGINS, X, pruned=pruned)
    results = all_bounds(facts, d=0.1, pruned_margins=MARGINS)
    rows = {(row.name, row.variant): row for row in like_with_like(results)}
    dense = rows["parameter count, dense", "paper"]
    assert dense.log_rate == pytest.approx(0.5 * math.log(125 / 500))
    assert dense.log_bound == pytest.approx(weights_bound(facts).log_value)
    assert rows["parameter count, kept", "paper"].log_rate < dense.log_rate
    # ln^2(8) chi > 1: sketches are larger than the layers they stand for
    assert rows["parameter count, sketch", "paper"].log_rate > dense.log_rate
    assert rows["Bartlett 2017", "authors-code"].log_bound is None
    rates = [row.log_rate for row in like_with_like(results)]
    assert rates == sorted(rates)
    assert {r.about for r in results if r.quantity == "risk"} >= {"dense network", "pruned network"}
    assert margin_loss(MARGINS, MARGINS.min()) == 1 / N
    assert margin_loss(MARGINS, MARGINS.min(), strict=True) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"margins": []}, "training set must not be empty"),
        ({"margins": [math.nan, 1.0]}, "diverged"),
        ({"matrices": []}, "one layer or more"),
        ({"matrices": [np.eye(3), np.eye(4)]}, "order of application"),
        ({"matrices": [np.full((3, 6), math.nan)]}, "18 NaN or infinite weights of 18"),
        ({"inputs": X[:3]}, "`inputs`"),
        ({"inputs": -np.ones(500)}, "`inputs`"),
        ({"inputs": np.full((500, 6), math.inf)}, "`inputs`"),
        ({"pruned": [np.eye(2)]}, "`pruned`"),
        ({"pruned": [m.T for m in MATRICES]}, "of shape"),
        ({"input_bound": 0.0}, "`input_bound`"),
        ({"biases": [np.ones(2)] * 3, "fold": True}, "`bias 1`"),
    ],
)
def test_bad_input_is_named(change, message):
    options = {"matrices": MATRICES, "margins": MARGINS, "inputs": X, **change}
    with pytest.raises(InputError, match=message):
        network_facts(
            options.pop("matrices"), options.pop("margins"), options.pop("inputs"), **options
        )


def test_bad_delta_is_named():
    for method in BOUNDS:
        for delta in (0.0, 1.0, math.nan):
            with pytest.raises(InputError, match="`delta`"):
                method.bound(FACTS, delta=delta)
    with pytest.raises(
        InputError, match=r"`variant` of `Bartlett 2017` must be one of .'authors-code'"
    ):
        COVERING.capacity(FACTS, variant="other")
    with pytest.raises(InputError, match="`delta`"):
        all_bounds(FACTS, delta=2.0)
