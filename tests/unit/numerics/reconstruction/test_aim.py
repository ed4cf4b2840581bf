"""Fits towards given outputs, masks found in steps, and the choice among all, on real samples."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.reconstruction.aim import Aim, Moments
from prunable.numerics.reconstruction.choice import (
    CANDIDATES,
    STRENGTHS,
    candidate,
    choose,
    stepwise,
)
from prunable.numerics.reconstruction.gram import Gram, output_error
from prunable.numerics.reconstruction.refit import (
    best_strength,
    nearly_refitted,
    refit,
    refitted,
    some_rows,
)
from prunable.numerics.reconstruction.scaled import Correlations
from prunable.numerics.reconstruction.surgery import surgery

HELD = 4  # one of so many samples


def drawn(rows=6, width=9, n=400, groups=1, seed=0):
    """A matrix, inputs of the dense network, and what a pruned one sends in their place."""
    r = np.random.default_rng(seed)
    mixing = r.standard_normal((groups, width, width)) + np.eye(width)
    x = r.standard_normal((groups, n, width)) @ mixing + 0.7
    sent = 0.8 * x + 0.4 * r.standard_normal(x.shape) - 0.3
    return r.standard_normal((rows, width)), x, sent


def moments(y, x):
    """Of y (n, rows) with x (groups, n, width)."""
    rows = y.shape[1] // len(x)
    cross = [y[:, g * rows : (g + 1) * rows].T @ own for g, own in enumerate(x)]
    return Moments(np.concatenate(cross), float((y**2).sum()), y.mean(axis=0), len(y))


def gram_of(x, held=True):
    own = x[:, ::HELD]
    products = x.swapaxes(1, 2) @ x
    if not held:
        return Gram(products, x.shape[1], means=x.mean(axis=1))
    rest = (own.swapaxes(1, 2) @ own, x.mean(axis=1), own.mean(axis=1), own.shape[1])
    return Gram(products, x.shape[1], *rest)


def aimed(matrix, x, sent, held=True):
    y = outputs(matrix, x)
    apart = moments(y[::HELD], sent[:, ::HELD]) if held else None
    return Aim(gram_of(sent, held), moments(y, sent), apart), y


def outputs(matrix, x):
    per = len(matrix) // len(x)
    return np.concatenate([own @ matrix[g * per :][:per].T for g, own in enumerate(x)], axis=1)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_error_towards_outputs_is_that_of_the_samples(groups, centred):
    matrix, x, sent = drawn(groups=groups)
    aim, y = aimed(matrix, x, sent)
    found = outputs(np.where(matrix > 0, matrix, 0), sent)
    aim = aim.centred() if centred else aim
    for part, held in ((slice(None), False), (slice(None, None, HELD), True)):
        want, got = y[part], found[part]
        if centred:
            want, got = want - want.mean(axis=0), got - got.mean(axis=0)
        expected = np.linalg.norm(want - got) / np.linalg.norm(want)
        error = aim.error(np.where(matrix > 0, matrix, 0), held=held)
        assert error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_the_best_weights_are_the_least_squares_of_the_samples(centred):
    """At the ridge that was chosen, with numpy's least squares; pulls as rows of their own."""
    matrix, x, sent = drawn(n=4000)
    aim, y = aimed(matrix, x, sent)
    own = sent[0]
    if centred:
        aim, y, own = aim.centred(), y - y.mean(axis=0), own - own.mean(axis=0)
    found = aim.best(matrix)
    fits = []
    for ridge in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        pulls = np.sqrt(ridge) * np.diag(np.linalg.norm(own, axis=0))
        both = np.vstack([own, pulls]), np.vstack([y, pulls @ matrix.T])
        fits.append(np.linalg.lstsq(*both, rcond=None)[0].T)
    apart = [np.abs(found - fit).max() for fit in fits]
    assert min(apart) < 1e-8
    assert aim.error(found) < aim.error(matrix)


def test_a_refit_towards_the_best_weights_is_a_refit_towards_the_outputs():
    matrix, x, sent = drawn(n=3000)
    aim, y = aimed(matrix, x, sent, held=False)
    kept = np.random.default_rng(1).random(matrix.shape) < 0.5
    # ridge is a trifle, so that both are plain least squares
    products = aim.inputs.products
    best = np.linalg.solve(products[0], aim.whole.cross.T).T
    found = refit(best, kept, products, ridge=1e-12)
    for row, mask in enumerate(kept):
        solution = np.linalg.lstsq(sent[0][:, mask], y[:, row], rcond=None)[0]
        np.testing.assert_allclose(found[row, mask], solution, rtol=1e-6)


def test_a_layer_that_gets_what_it_should_stays_what_it_is():
    matrix, x, _ = drawn()
    aim, _ = aimed(matrix, x, x)
    np.testing.assert_allclose(aim.best(matrix), matrix, rtol=1e-9, atol=1e-12)
    assert aim.error(matrix) == pytest.approx(0, abs=1e-7)


def test_without_means_there_is_nothing_to_take_off():
    with pytest.raises(ValueError, match="`means` of `Gram`"):
        Gram(np.eye(3)[None], 5).centred()


@pytest.mark.parametrize("kappa", [0.1, 0.3])
def test_steps_lose_less_than_one(kappa):
    """Fewer errors than the refitted largest weights, in the mean of 20 matrices, by a tenth."""
    ratios = []
    for seed in range(20):
        matrix, x, _ = drawn(rows=12, width=40, n=900, seed=seed)
        products, count = x.swapaxes(1, 2) @ x, int(kappa * matrix.size)
        kept, values = stepwise(matrix, products, count, damping=1e-3)
        assert kept.sum() == count
        assert not values[~kept].any()
        inputs = Correlations.of(products)
        plain = candidate("refitted input-weighted", matrix, inputs, count, 1e-3, "")[1]
        ratios.append(
            output_error(matrix, values, products) / output_error(matrix, plain, products)
        )
    assert np.mean(ratios) < 0.9


def test_steps_end_with_the_refit_of_their_mask_and_take_patterns():
    matrix, x, _ = drawn(rows=6, width=16)
    products = x.swapaxes(1, 2) @ x
    for keep in (30, (2, 4, 1)):
        kept, values = stepwise(matrix, products, keep, damping=0.01)
        np.testing.assert_allclose(values, refit(matrix, kept, products, ridge=0.01), rtol=1e-12)
    assert (kept.reshape(6, 4, 4).sum(axis=2) == 2).all()
    nothing, zeros = stepwise(matrix, products, 0, damping=0.01)
    assert not nothing.any()
    assert not zeros.any()


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_on_held_out_inputs(seed):
    """Found by trying each; with few inputs, so that fits differ from what holds elsewhere."""
    matrix, x, _ = drawn(rows=8, width=24, n=60, seed=seed)
    gram, errors = gram_of(x), {}
    for name in CANDIDATES:
        for strength in STRENGTHS:
            inputs = Correlations.of(gram.fitted)
            values = candidate(name, matrix, inputs, 70, strength, "")[1]
            errors[name, strength] = output_error(matrix, values, gram.held_out)
    name, mask, values = choose(matrix, gram, 70)
    best = min(errors, key=lambda key: errors[key])
    assert errors[best] == min(errors[name, s] for s in STRENGTHS)
    assert mask.sum() == 70
    assert not values[~mask].any()


def test_choices_without_held_out_inputs_and_by_pattern():
    matrix, x, _ = drawn(rows=8, width=24)
    name, mask, _ = choose(matrix, gram_of(x, held=False), (1, 2, 1))
    assert name in CANDIDATES
    assert (mask.reshape(8, 12, 2).sum(axis=2) == 1).all()


def test_ridge_of_many_rows_is_chosen_by_some_and_all_are_fitted(monkeypatch):
    monkeypatch.setattr("prunable.numerics.reconstruction.refit.SAMPLE", 2**10)
    matrix, x, _ = drawn(rows=400, width=8)
    rows = some_rows(matrix, 1)
    assert len(rows) == 128
    assert (rows[0], rows[-1]) == (0, 399)
    gram = gram_of(x)
    kept = np.random.default_rng(2).random(matrix.shape) < 0.5
    found = refitted(matrix, kept, gram)
    fits = [refit(matrix, kept, gram.products, ridge=s) for s in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
    assert min(np.abs(found - fit).max() for fit in fits) < 1e-12


def test_eigenvalues_are_taken_once_for_all_strengths_or_not_at_all(monkeypatch):
    matrix, x, _ = drawn()
    calls = []
    real = np.linalg.eigvalsh

    def counted(values):
        calls.append(1)
        return real(values)

    monkeypatch.setattr(np.linalg, "eigvalsh", counted)
    inputs = Correlations.of(x.swapaxes(1, 2) @ x)
    for damping in (0.01, 0.1, 1.0):
        surgery(matrix, inputs, 20, damping=damping)
        refit(matrix, matrix > 0, inputs, ridge=damping)
    assert not calls
    singular = Correlations.of(x.swapaxes(1, 2) @ x - 1e-3 * len(x[0]) * np.eye(x.shape[2]))
    for damping in (0.1, 1.0):
        refit(matrix, matrix > 0, singular, ridge=damping)
    assert len(calls) <= 1


@pytest.mark.parametrize("share", [0.6, 0.95])
def test_rows_solved_by_what_goes_are_those_solved_by_what_stays(share, monkeypatch):
    """Against each row's own system, and against the other way."""
    matrix, x, _ = drawn(rows=30, width=40, n=500, groups=2)
    products = x.swapaxes(1, 2) @ x
    kept = np.random.default_rng(4).random(matrix.shape) < share
    found = refit(matrix, kept, products, ridge=1e-3)
    monkeypatch.setattr("prunable.numerics.reconstruction.refit.FEW", 10**9)
    np.testing.assert_allclose(found, refit(matrix, kept, products, ridge=1e-3), rtol=1e-8)
    for row, mask in enumerate(kept):
        own = products[row // 15] + 1e-3 * np.diag(np.diag(products[row // 15]))
        pulls = own[np.ix_(mask, ~mask)] @ matrix[row, ~mask]
        solution = matrix[row, mask] + np.linalg.solve(own[np.ix_(mask, mask)], pulls)
        np.testing.assert_allclose(found[row, mask], solution, rtol=1e-7)


def test_dampings_that_rounding_forbids_are_not_tried():
    """Products whose rounding leaves an eigenvalue below 0 leave the larger dampings."""
    r = np.random.default_rng(0)
    x = r.normal(size=(64, 6)) @ r.normal(size=(6, 12))
    products = (x.T @ x)[None]
    rounded = products - 1e-3 * np.eye(12) * np.diagonal(products[0])
    gram = Gram(rounded, 64, rounded / 4)
    assert -2e-3 < Correlations.of(rounded).lowest < -5e-4
    matrix = r.normal(size=(5, 12))
    name, mask, values = choose(matrix, gram, 30)
    assert name
    assert mask.sum() == 30
    assert np.isfinite(values).all()

    def found(inputs, strength):
        return refit(matrix, mask, inputs, ridge=strength)

    assert best_strength(matrix, gram, found) in (1e-2, 1e-1, 1.0)
    with pytest.raises(InputError, match=r"damping 0\.0001"):
        refit(matrix, mask, rounded, ridge=1e-4)


def test_inputs_that_do_not_vary_count_as_none():
    r = np.random.default_rng(1)
    x = r.normal(size=(256, 6)) + 3.0
    x[:, 4:] = 7.0 + 1e-4 * r.normal(size=(256, 2))
    single = x.astype(np.float32)
    products = (single.T @ single).astype(np.float64)[None]
    centred = Gram(products, 256, means=x.mean(0)[None]).centred().products
    assert not centred[0, 4:].any()
    assert not centred[0, :, 4:].any()
    exact = (x - x.mean(0)).T @ (x - x.mean(0))
    np.testing.assert_allclose(centred[0, :4, :4], exact[:4, :4], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_conjugate_gradients_come_near_the_exact_weights(groups, size):
    """From the weights of a larger mask; a row that keeps nothing and a dead input stay."""
    matrix, x, _ = drawn(rows=8, width=60, groups=groups)
    x[..., 5] = 0.0
    products = np.square(size) * (x.swapaxes(1, 2) @ x)
    r = np.random.default_rng(3)
    more = r.random(matrix.shape) < 0.6
    kept = more & (r.random(matrix.shape) < 0.7)
    kept[1] = False
    start = refit(matrix, more, products, ridge=1e-2)
    exact = refit(matrix, kept, products, ridge=1e-2)
    found = nearly_refitted(matrix, kept, start, products, ridge=1e-2)
    assert np.array_equal(found != 0, kept)
    np.testing.assert_array_equal(found[:, 5], exact[:, 5])
    assert np.abs(found - exact).max() < 1e-2 * np.abs(exact).max()
    lost = output_error(matrix, exact, products)
    # at the least error a small step changes it by its square
    assert abs(output_error(matrix, found, products) / lost - 1) < 1e-3


@pytest.mark.parametrize("groups", [1, 12])
def test_narrow_rows_solved_at_once_are_those_solved_one_by_one(groups, monkeypatch):
    matrix, x, _ = drawn(rows=24, width=9, groups=groups)
    x[..., 2] = 0.0
    products = x.swapaxes(1, 2) @ x
    kept = np.random.default_rng(5).random(matrix.shape) < 0.5
    kept[0], kept[1] = True, False
    found = refit(matrix, kept, products, ridge=1e-3)
    monkeypatch.setattr("prunable.numerics.reconstruction.refit.NARROW", 0)
    np.testing.assert_allclose(found, refit(matrix, kept, products, ridge=1e-3), rtol=1e-9)


@pytest.mark.parametrize("shift", [-1e-3, 0.0, 0.5])
def test_eigenvalues_above_a_level_are_told_as_they_are(shift):
    _, x, _ = drawn(width=7)
    inputs = Correlations.of(x.swapaxes(1, 2) @ x)
    values = inputs.values + shift * np.eye(7)
    lowest = np.linalg.eigvalsh(values)[0].min()
    for damping in (0.0, 1e-4, 1e-2, 1.0):
        for level in (1e-7, 1e-5, lowest, 0.9):
            fresh = Correlations(values, inputs.norms, inputs.dead)
            assert fresh.above(level, damping) == (lowest + damping > level)
