"""Surgery and refitting against brute force, least squares and each other."""

from itertools import combinations

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.numerics.reconstruction.gram import Gram, output_error
from prunable.numerics.reconstruction.refit import STRENGTHS, best_strength, refit
from prunable.numerics.reconstruction.surgery import exact_surgery, n_of_m, surgery


def drawn(rows=6, width=9, n=400, groups=1, seed=0):
    """A matrix and correlated inputs of it, (groups, n, width)."""
    r = np.random.default_rng(seed)
    mixing = r.standard_normal((groups, width, width)) + np.eye(width)
    x = r.standard_normal((groups, n, width)) @ mixing
    return r.standard_normal((rows, width)), x


def gram_of(x):
    return x.swapaxes(1, 2) @ x


def outputs(matrix, x):
    return x @ matrix.reshape(len(x), -1, matrix.shape[1]).swapaxes(1, 2)


@pytest.mark.parametrize("groups", [1, 3])
def test_output_error_is_that_of_the_outputs(groups):
    matrix, x = drawn(groups=groups)
    changed = np.where(np.abs(matrix) > 0.5, matrix, 0.0)
    apart = np.linalg.norm(outputs(matrix - changed, x)) / np.linalg.norm(outputs(matrix, x))
    assert output_error(matrix, changed, gram_of(x)) == pytest.approx(apart, rel=1e-12)
    scaled = output_error(matrix * 2.0**900, changed * 2.0**900, gram_of(x))
    assert scaled == pytest.approx(apart, rel=1e-12)


@pytest.mark.parametrize("operate", [surgery, exact_surgery])
@pytest.mark.parametrize("damping", [1e-6, 0.01, 1.0])
def test_of_uncorrelated_inputs_surgery_is_weighted_magnitude(operate, damping):
    matrix, _ = drawn(rows=8, width=300 if operate is surgery else 12)
    sizes = np.exp(np.random.default_rng(1).standard_normal(matrix.shape[1]))
    kept, values = operate(matrix, np.diag(sizes**2)[None], matrix.size // 3, damping=damping)
    scores = np.abs(matrix) * sizes
    assert kept.sum() == matrix.size // 3
    assert scores[kept].min() > scores[~kept].max()
    np.testing.assert_allclose(values, np.where(kept, matrix, 0), rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 3])
def test_refit_is_the_least_squares_solution_of_each_row(groups):
    """Against numpy's least squares, on the inputs themselves; ridge as rows of their own."""
    matrix, x = drawn(groups=groups)
    kept = np.random.default_rng(3).random(matrix.shape) < 0.6
    for ridge in (0.0, 0.3):
        found = refit(matrix, kept, gram_of(x), ridge=ridge)
        for row in range(len(matrix)):
            own = x[row // (len(matrix) // groups)]
            pulls = np.sqrt(ridge) * np.diag(np.linalg.norm(own, axis=0))
            mask = kept[row]
            inputs = np.vstack([own, pulls])[:, mask]
            wanted = np.concatenate([own @ matrix[row], pulls @ np.where(mask, matrix[row], 0)])
            solution = np.linalg.lstsq(inputs, wanted, rcond=None)[0]
            np.testing.assert_allclose(found[row, mask], solution, rtol=1e-8)
            assert not found[row, ~mask].any()


def test_refit_of_the_whole_mask_is_the_weights_and_no_mask_is_worse_off():
    matrix, x = drawn(n=5)  # fewer inputs than weights
    products = gram_of(x)
    whole = np.ones(matrix.shape, dtype=bool)
    np.testing.assert_allclose(refit(matrix, whole, products, ridge=0.1), matrix, rtol=1e-12)
    for seed in range(20):
        kept = np.random.default_rng(seed).random(matrix.shape) < 0.5
        before = output_error(matrix, np.where(kept, matrix, 0), products)
        for ridge in STRENGTHS:
            after = output_error(matrix, refit(matrix, kept, products, ridge=ridge), products)
            assert after <= before * (1 + 1e-12)


def test_rows_of_a_common_mask_and_of_their_own_are_solved_alike():
    matrix, x = drawn()
    common = np.tile(np.arange(9) % 3 > 0, (6, 1))
    together = refit(matrix, common, gram_of(x), ridge=0.01)
    alone = [refit(matrix[i : i + 1], common[:1], gram_of(x), ridge=0.01)[0] for i in range(6)]
    np.testing.assert_allclose(together, alone, rtol=1e-10)


@pytest.mark.parametrize("damping", [1e-4, 0.1])
def test_exact_surgery_leaves_the_least_squares_weights_of_its_mask(damping):
    matrix, x = drawn()
    kept, values = exact_surgery(matrix, gram_of(x), 20, damping=damping)
    np.testing.assert_allclose(
        values, refit(matrix, kept, gram_of(x), ridge=damping), rtol=1e-6, atol=1e-9
    )


def test_exact_surgery_removes_the_best_single_weight():
    """Against all masks that lack one weight."""
    for seed in range(10):
        matrix, x = drawn(rows=3, width=5, seed=seed)
        products = gram_of(x)
        errors = []
        for index in range(matrix.size):
            mask = np.ones(matrix.size, dtype=bool)
            mask[index] = False
            refitted = refit(matrix, mask.reshape(matrix.shape), products, ridge=1e-9)
            errors.append(output_error(matrix, refitted, products))
        kept, _ = exact_surgery(matrix, products, matrix.size - 1, damping=1e-9)
        assert np.flatnonzero(~kept.ravel()).tolist() == [int(np.argmin(errors))]


def test_exact_surgery_comes_near_the_best_mask_of_a_row():
    """Of all masks of 4 of 8 weights, in the mean of 30 rows; nearer than the largest weights."""
    ratios = []
    for seed in range(30):
        matrix, x = drawn(rows=1, width=8, seed=seed)
        products = gram_of(x)

        def error(mask, matrix=matrix, products=products):
            refitted = refit(matrix, mask[None], products, ridge=1e-6)
            return output_error(matrix, refitted, products)

        masks = (np.isin(np.arange(8), chosen) for chosen in combinations(range(8), 4))
        best = min(error(mask) for mask in masks)
        exact = error(exact_surgery(matrix, products, 4, damping=1e-6)[0][0])
        largest = error(np.abs(matrix[0]) >= np.sort(np.abs(matrix[0]))[4])
        ratios.append([exact / best, largest / best])
    exact, largest = np.mean(ratios, axis=0)
    assert 1 <= exact < 1.25 < largest


def test_columns_make_up_for_what_goes():
    matrix, x = drawn(rows=20, width=300, n=2000)
    products = gram_of(x)
    kept, values = surgery(matrix, products, 3000, damping=0.01)
    assert kept.sum() == 3000
    assert not values[~kept].any()
    masked = output_error(matrix, np.where(kept, matrix, 0), products)
    fitted = output_error(matrix, refit(matrix, kept, products, ridge=0.01), products)
    assert fitted <= output_error(matrix, values, products) < 0.7 * masked


def test_lazy_blocks_change_nothing(monkeypatch):
    """Where blocks lose the same weights, the width of a block is a matter of speed."""
    matrix, x = drawn(rows=5, width=24)
    found = [None, None]
    for place, block in enumerate((4, 24)):
        monkeypatch.setattr("prunable.numerics.reconstruction.surgery.BLOCK", block)
        found[place] = surgery(matrix, gram_of(x), (2, 4, 1), damping=0.01)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("taps", [1, 3])
def test_a_pattern_has_exactly_two_of_four(taps):
    matrix, x = drawn(rows=6, width=8 * taps)
    kept, values = surgery(matrix, gram_of(x), (2, 4, taps), damping=0.01)
    assert (kept.reshape(6, 2, 4, taps).sum(axis=2) == 2).all()
    assert not values[~kept].any()
    assert (n_of_m(np.abs(matrix), 2, 4, taps).reshape(6, 2, 4, taps).sum(axis=2) == 2).all()


def test_inputs_that_are_always_zero_lose_their_weights_first_and_change_nothing():
    matrix, x = drawn()
    x[..., 4] = 0
    kept, values = surgery(matrix, gram_of(x), matrix.size - len(matrix), damping=0.01)
    assert not kept[:, 4].any()
    np.testing.assert_allclose(np.delete(values, 4, 1), np.delete(matrix, 4, 1), rtol=1e-9)
    whole = np.ones(matrix.shape, dtype=bool)
    np.testing.assert_array_equal(refit(matrix, whole, gram_of(x), ridge=0.01)[:, 4], matrix[:, 4])


def test_too_few_inputs_for_the_damping_name_the_layer():
    matrix, x = drawn(n=4)
    for found in (
        lambda: surgery(matrix, gram_of(x), 20, damping=0.0, where="fc.weight"),
        lambda: refit(matrix, matrix > 0, gram_of(x), ridge=0.0, where="fc.weight"),
    ):
        with pytest.raises(InputError, match=r"`fc\.weight` do not determine its 9 weights"):
            found()
    with pytest.raises(InputError, match="`damping` of `surgery` must be"):
        surgery(matrix, gram_of(x), 20, damping=-1.0)


def test_the_strength_is_what_does_best_on_held_out_inputs():
    """A row of 40 weights and 45 inputs to fit: little ridge fits their noise."""
    matrix, x = drawn(rows=4, width=40, n=4045)
    x[0] += 3 * np.random.default_rng(5).standard_normal(x[0].shape)
    held = gram_of(x[:, 45:])
    gram = Gram(gram_of(x[:, :45]) + held, 4045, held)
    kept = np.random.default_rng(6).random(matrix.shape) < 0.5

    def found(products, strength):
        return refit(matrix, kept, products, ridge=strength)

    errors = [output_error(matrix, found(gram_of(x[:, :45]), s), held) for s in STRENGTHS]
    chosen = best_strength(matrix, gram, found)
    assert chosen == STRENGTHS[int(np.argmin(errors))] > STRENGTHS[0]


def test_gram_matrices_that_are_none_are_refused():
    for products, count in ((np.eye(3), 5), (np.eye(3)[None], 0)):
        with pytest.raises(InputError, match="of `Gram` must be"):
            Gram(products, count)
