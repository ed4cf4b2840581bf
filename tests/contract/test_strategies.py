"""What every pruning strategy must do; a new strategy adds one subclass of the contract."""

from abc import ABC, abstractmethod
from dataclasses import FrozenInstanceError, replace
from typing import get_args

import numpy as np
import pytest
import torch

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView, views_of
from prunable.nets.prune.choices import ShareRule
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Energy, Error, Keep, plan_from_json, plan_to_json
from prunable.nets.prune.strategies import (
    BrainSurgery,
    CalibratedPruning,
    InputWeightedPruning,
    MagnitudePruning,
    MedianCentred,
    NMPruning,
    NodePruning,
    RandomizedMagnitudePruning,
    RandomPruning,
    Refitted,
    SingularValuePruning,
    Strategy,
)
from prunable.numerics.randomness import rng
from prunable.numerics.reconstruction.gram import Gram

SHAPES = {"first": (12, 30), "second": (25, 12), "last": (7, 25)}
EPS = [0.05, 0.3, 0.6, 0.95]


def heavy_tailed_views(dtype=np.float64) -> list[WeightView]:
    generator = np.random.default_rng(11)
    return [
        WeightView(name, (scale * generator.standard_t(1.7, size=shape)).astype(dtype))
        for scale, (name, shape) in zip((1.0, 0.4, 2.0), SHAPES.items(), strict=True)
    ]


class StrategyContract(ABC):
    """Subclasses give the strategy, its norm order, and each candidate's score."""

    strategy: Strategy
    p: float

    @abstractmethod
    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """Scores of a matrix's candidates, computed by other means than the strategy's.

        The l_p norm of the pruned candidates' scores is that of the pruned weights.
        """

    def plan(self, budget, views=None, seed=0):
        return self.strategy.plan(views or heavy_tailed_views(), budget, rng=rng(seed))

    def error(self, scores, kept) -> float:
        return np.linalg.norm(scores[~kept], ord=self.p) / np.linalg.norm(scores, ord=self.p)

    def budgets(self):
        yield from (Keep(0.3), Keep(0.3, scope="global"), Error(0.3, p=self.p))
        if self.p == 2:
            yield Energy(0.9)

    def test_one_layer_plan_per_view_in_order(self):
        views = heavy_tailed_views()
        for budget in self.budgets():
            plan = self.plan(budget, views)
            assert plan.budget == budget
            assert [layer.name for layer in plan.layers] == list(SHAPES)
            assert [layer.shape for layer in plan.layers] == list(SHAPES.values())
            for view, layer in zip(views, plan.layers, strict=True):
                assert layer.kept.shape == self.scores(view.matrix).shape
                assert layer.p == self.p

    @pytest.mark.parametrize("kappa", [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0])
    def test_layer_counts_are_exact(self, kappa):
        for layer in self.plan(Keep(kappa)).layers:
            assert layer.n_kept == np.ceil(round(kappa * layer.n_total, 9))
            assert layer.kappa_asked == kappa
            assert layer.kappa == layer.n_kept / layer.n_total

    @pytest.mark.parametrize("kappa", [0.0, 0.1, 1 / 3, 0.5, 0.999, 1.0])
    def test_global_counts_are_exact_and_one_threshold_holds(self, kappa):
        views = heavy_tailed_views()
        plan = self.plan(Keep(kappa, scope="global"), views)
        total = sum(layer.n_total for layer in plan.layers)
        assert sum(layer.n_kept for layer in plan.layers) == np.ceil(round(kappa * total, 9))
        assert all(layer.kappa_asked is None for layer in plan.layers)
        scores = np.concatenate([self.scores(view.matrix) for view in views])
        kept = np.concatenate([layer.kept for layer in plan.layers])
        if kept.any() and not kept.all():
            assert scores[kept].min() > scores[~kept].max()

    def test_kept_are_the_largest(self):
        views = heavy_tailed_views()
        for budget in self.budgets():
            for view, layer in zip(views, self.plan(budget, views).layers, strict=True):
                scores = self.scores(view.matrix)
                if 0 < layer.n_kept < layer.n_total:
                    assert scores[layer.kept].min() > scores[~layer.kept].max()

    def test_realised_error_is_the_measured_one(self):
        views = heavy_tailed_views()
        for budget in self.budgets():
            for view, layer in zip(views, self.plan(budget, views).layers, strict=True):
                measured = self.error(self.scores(view.matrix), layer.kept)
                assert layer.eps == pytest.approx(measured, rel=1e-12, abs=1e-300)

    @pytest.mark.parametrize("eps", EPS)
    def test_error_budget_is_kept_and_tight(self, eps):
        views = heavy_tailed_views()
        for view, layer in zip(views, self.plan(Error(eps, p=self.p), views).layers, strict=True):
            scores = self.scores(view.matrix)
            assert layer.eps <= eps
            fewer = layer.kept.copy()
            fewer[np.argmin(np.where(layer.kept, scores, np.inf))] = False
            assert self.error(scores, fewer) > eps

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    def test_energy_budget_is_kept_and_tight(self, share):
        views = heavy_tailed_views()
        if self.p != 2:
            with pytest.raises(InputError, match="the budget's order, 2"):
                self.plan(Energy(share), views)
            return
        for view, layer in zip(views, self.plan(Energy(share), views).layers, strict=True):
            energy = self.scores(view.matrix) ** 2
            assert energy[layer.kept].sum() >= share * energy.sum()
            smallest = energy[layer.kept].min()
            assert energy[layer.kept].sum() - smallest < share * energy.sum()

    def test_extreme_error_budgets(self):
        assert all(layer.n_kept == layer.n_total for layer in self.plan(Error(0, p=self.p)).layers)
        assert all(layer.n_kept == 0 for layer in self.plan(Error(1, p=self.p)).layers)

    def test_same_arguments_give_the_same_plan(self):
        for budget in self.budgets():
            first, second = self.plan(budget), self.plan(budget)
            assert first.to_dict() == second.to_dict()
            for one, other in zip(first.layers, second.layers, strict=True):
                np.testing.assert_array_equal(one.kept, other.kept)

    def test_precision_and_scale_of_the_weights_do_not_matter(self):
        for budget in self.budgets():
            expected = self.plan(budget, heavy_tailed_views(np.float32))
            for factor in (1.0, 2.0**-900, 2.0**900):
                views = [
                    WeightView(v.name, v.matrix.astype(np.float64) * factor)
                    for v in heavy_tailed_views(np.float32)
                ]
                for one, other in zip(
                    expected.layers, self.plan(budget, views).layers, strict=True
                ):
                    np.testing.assert_array_equal(one.kept, other.kept)

    def test_weights_are_not_modified(self):
        for budget in self.budgets():
            matrices = [view.matrix.copy() for view in heavy_tailed_views()]
            views = [WeightView(str(i), matrix) for i, matrix in enumerate(matrices)]
            self.plan(budget, views)
            for view, matrix in zip(heavy_tailed_views(), matrices, strict=True):
                np.testing.assert_array_equal(view.matrix, matrix)

    def test_json_round_trip(self):
        for budget in self.budgets():
            plan = self.plan(budget)
            text = plan_to_json(plan)
            again = plan_from_json(text)
            assert (again.method, again.budget) == (plan.method, plan.budget)
            assert plan_to_json(again) == text
            for one, other in zip(plan.layers, again.layers, strict=True):
                np.testing.assert_array_equal(one.kept, other.kept)
                assert (one.eps, one.taps) == (other.eps, other.taps)
                assert (one.fill is None) == (other.fill is None)
                if one.fill is not None:
                    np.testing.assert_array_equal(one.fill, other.fill)
                assert (one.values is None) == (other.values is None)
                if one.values is not None:
                    np.testing.assert_array_equal(one.values, other.values)

    def test_model_is_untouched_until_the_plan_is_applied(self):
        model = torch.nn.Sequential(
            *(torch.nn.Linear(*shape[::-1], bias=False) for shape in SHAPES.values())
        )
        before = [p.detach().clone() for p in model.parameters()]
        plan = self.strategy.plan(views_of(model.named_parameters()), Keep(0.5), rng=rng(0))
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        apply_plan_(model.named_parameters(), plan)
        assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    def test_plans_are_frozen(self):
        plan = self.plan(Keep(0.5))
        with pytest.raises(FrozenInstanceError):
            plan.method = "other"
        with pytest.raises(ValueError, match="read-only"):
            plan.layers[0].kept[0] = False

    def test_zero_layer(self):
        views = [WeightView("zero", np.zeros((6, 6))), *heavy_tailed_views()]
        half = self.plan(Keep(0.5), views).layers[0]
        assert half.n_kept == half.n_total // 2
        nothing = self.plan(Error(0.0, p=self.p), views).layers[0]
        assert (nothing.n_kept, nothing.eps) == (0, 0.0)
        assert self.plan(Error(0.5, p=self.p), views[:1]).kappa == 0

    def test_unknown_scope_budget_and_missing_views_are_refused(self):
        with pytest.raises(InputError, match="`scope` of `Keep` must be one of"):
            self.plan(Keep(0.5, scope="model"))
        with pytest.raises(InputError, match="`budget` of"):
            self.plan(0.5)
        with pytest.raises(InputError, match="`views` of"):
            self.strategy.plan([], Keep(0.5), rng=rng(0))


class TestUnits(StrategyContract):
    strategy = NodePruning()
    p = 2.0

    def scores(self, matrix):
        return np.linalg.norm(matrix, axis=1)


class TestInputs(StrategyContract):
    strategy = NodePruning(axis="input")
    p = 2.0

    def scores(self, matrix):
        return np.linalg.norm(matrix, axis=0)


class TestUnitsInTheSumNorm(StrategyContract):
    strategy = NodePruning(p=1.0)
    p = 1.0

    def scores(self, matrix):
        return np.abs(matrix).sum(axis=1)


class TestInputsInAFractionalNorm(StrategyContract):
    strategy = NodePruning(axis="input", p=1.5)
    p = 1.5

    def scores(self, matrix):
        return (np.abs(matrix) ** 1.5).sum(axis=0) ** (1 / 1.5)


class TestMagnitude(StrategyContract):
    strategy = MagnitudePruning()
    p = 2.0

    def scores(self, matrix):
        return np.abs(matrix.ravel())


class TestMagnitudeInTheSumNorm(StrategyContract):
    strategy = MagnitudePruning(p=1.0)
    p = 1.0

    def scores(self, matrix):
        return np.abs(matrix.ravel())


class TestKernels(StrategyContract):
    """Views of convolutions of three taps."""

    strategy = NodePruning(axis="kernel")
    p = 2.0

    def plan(self, budget, views=None, seed=0):
        views = [
            WeightView(v.name, v.matrix, taps=3 if v.matrix.shape[1] % 3 == 0 else 1)
            for v in views or heavy_tailed_views()
        ]
        return self.strategy.plan(views, budget, rng=rng(seed))

    def scores(self, matrix):
        taps = 3 if matrix.shape[1] % 3 == 0 else 1
        return np.linalg.norm(matrix.reshape(-1, taps), axis=1)


class TestChannels(StrategyContract):
    strategy = NodePruning(axis="input")
    p = 2.0

    def plan(self, budget, views=None, seed=0):
        views = [
            WeightView(v.name, v.matrix, taps=5 if v.matrix.shape[1] % 5 == 0 else 1)
            for v in views or heavy_tailed_views()
        ]
        return self.strategy.plan(views, budget, rng=rng(seed))

    def scores(self, matrix):
        out, width = matrix.shape
        taps = 5 if width % 5 == 0 else 1
        blocks = matrix.reshape(out, width // taps, taps)
        return np.sqrt((blocks**2).sum(axis=(0, 2)))


class TestSingularValues(StrategyContract):
    strategy = SingularValuePruning()
    p = 2.0

    def scores(self, matrix):
        return np.linalg.svd(matrix, compute_uv=False)


class TestCentredMagnitude(StrategyContract):
    strategy = MedianCentred(MagnitudePruning())
    p = 2.0

    def scores(self, matrix):
        return np.abs(matrix - np.median(matrix)).ravel()

    def test_extreme_error_budgets(self):
        """Of an odd number of weights the median itself costs nothing."""
        for layer in self.plan(Error(0)).layers:
            assert layer.n_kept == layer.n_total - layer.n_total % 2
        assert all(layer.n_kept == 0 for layer in self.plan(Error(1)).layers)


class TestCentredInputs(StrategyContract):
    strategy = MedianCentred(NodePruning(axis="input"))
    p = 2.0

    def scores(self, matrix):
        return np.linalg.norm(matrix - np.median(matrix, axis=1, keepdims=True), axis=0)


class TestCentredSingularValues(StrategyContract):
    strategy = MedianCentred(SingularValuePruning())
    p = 2.0

    def scores(self, matrix):
        return np.linalg.svd(matrix - np.median(matrix, axis=0), compute_uv=False)


class OwnShare:
    """The budget is the pattern's own share."""

    def budgets(self):
        yield Keep(0.5)

    # what other shares, or one threshold, would promise
    test_layer_counts_are_exact = None
    test_global_counts_are_exact_and_one_threshold_holds = None
    test_kept_are_the_largest = None
    test_error_budget_is_kept_and_tight = None
    test_energy_budget_is_kept_and_tight = None
    test_extreme_error_budgets = None


class TestPatterns(OwnShare, StrategyContract):
    """One of each two inputs."""

    strategy = NMPruning(1, 2)
    p = 2.0

    def scores(self, matrix):
        return np.abs(matrix.ravel())

    def test_zero_layer(self):
        plan = self.plan(Keep(0.5), [WeightView("zero", np.zeros((6, 6)))])
        assert (plan.layers[0].n_kept, plan.layers[0].eps) == (18, 0.0)

    def test_model_is_untouched_until_the_plan_is_applied(self):
        """The last matrix has an odd number of inputs and stays whole."""
        model = torch.nn.Sequential(
            *(torch.nn.Linear(*shape[::-1], bias=False) for shape in SHAPES.values())
        )
        before = [p.detach().clone() for p in model.parameters()]
        plan = self.strategy.plan(views_of(model.named_parameters()), Keep(0.5), rng=rng(0))
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        apply_plan_(model.named_parameters(), plan)
        same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert same == [False, False, True]


class Calibrated(StrategyContract):
    """Views that know their inputs: of unequal sizes, and uncorrelated if nothing else is said."""

    p = 2.0
    correlation = 0.0

    def plan(self, budget, views=None, seed=0):
        views = [replace(v, gram=self.gram(v.matrix)) for v in views or heavy_tailed_views()]
        return self.strategy.plan(views, budget, rng=rng(seed))

    def sizes(self, matrix):
        return np.exp(0.3 * np.arange(matrix.shape[1]) % 2.0)

    def gram(self, matrix):
        sizes, width = self.sizes(matrix), matrix.shape[1]
        mixed = (1 - self.correlation) * np.eye(width) + self.correlation
        return Gram(100.0 * (mixed * np.outer(sizes, sizes))[None], 100)

    def scores(self, matrix):
        return (np.abs(matrix) * self.sizes(matrix)).ravel()

    # the models of these know nothing of their inputs
    test_model_is_untouched_until_the_plan_is_applied = None


class TestInputWeighted(Calibrated):
    strategy = InputWeightedPruning()
    correlation = 0.4


class TestSurgery(Calibrated):
    strategy = BrainSurgery()


class TestCalibratedPruning(Calibrated):
    """Of uncorrelated inputs all ways of reconstruction leave the weights that matter most."""

    strategy = CalibratedPruning(allocation="threshold")


class TestExactSurgery(Calibrated):
    strategy = BrainSurgery(exact=True)


class TestRefitted(Calibrated):
    """What is kept and its error are those of the strategy inside, whatever the inputs."""

    strategy = Refitted(MagnitudePruning())
    correlation = 0.4

    def scores(self, matrix):
        return np.abs(matrix.ravel())


class TestCalibratedPatterns(OwnShare, Calibrated):
    """One of each two inputs."""

    strategy = InputWeightedPruning(n_m=(1, 2))
    correlation = 0.4

    test_zero_layer = None


class TestChosenPatterns(TestCalibratedPatterns):
    strategy = CalibratedPruning(n_m=(1, 2))
    correlation = 0.0


class TestSurgicalPatterns(TestCalibratedPatterns):
    strategy = BrainSurgery(n_m=(1, 2))
    correlation = 0.0


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("allocation", get_args(ShareRule))
@pytest.mark.parametrize("kind", [InputWeightedPruning, BrainSurgery, CalibratedPruning])
def test_calibrated_strategies_divide_a_budget_exactly(kind, allocation, scope):
    """Also where inputs are correlated, and where outputs keep the same share each."""

    contract = Calibrated()
    contract.correlation = 0.4
    strategies = [kind(allocation=allocation)]
    if kind is InputWeightedPruning:
        strategies.append(kind(compare="row", allocation=allocation))
    for strategy in strategies:
        contract.strategy = strategy
        plan = contract.plan(Keep(0.37, scope=scope))
        total = sum(layer.n_total for layer in plan.layers)
        if scope == "global":
            assert sum(layer.n_kept for layer in plan.layers) == np.ceil(0.37 * total)
        else:
            assert all(layer.n_kept == np.ceil(0.37 * layer.n_total) for layer in plan.layers)
        if getattr(strategy, "compare", "") == "row":
            for layer in plan.layers:
                assert np.ptp(layer.matrix_mask.sum(axis=1)) <= 1


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("kappa", [0.0, 0.1, 1 / 3, 1.0])
def test_random_control_has_the_exact_count(scope, kappa):
    views = heavy_tailed_views()
    plan = RandomPruning().plan(views, Keep(kappa, scope=scope), rng=rng(0))
    sizes = np.array([view.matrix.size for view in views])
    counts = np.array([layer.n_kept for layer in plan.layers])
    if scope == "layer":
        assert list(counts) == [np.ceil(round(kappa * n, 9)) for n in sizes]
    assert abs(counts.sum() - kappa * sizes.sum()) < len(sizes)
    again = RandomPruning().plan(views, Keep(kappa, scope=scope), rng=rng(0))
    assert all(
        np.array_equal(a.kept, b.kept) for a, b in zip(plan.layers, again.layers, strict=True)
    )
    with pytest.raises(InputError, match=r"`budget` of `RandomPruning\.plan` must be Keep"):
        RandomPruning().plan(views, Error(0.1), rng=rng(0))


def test_random_control_keeps_every_weight_equally_often():
    """4,000 draws of 0.3: counts within five standard errors; false alarm 1e-5 for 24 weights."""
    views = [WeightView("w", np.arange(24.0).reshape(4, 6))]
    r = rng(0)
    kept = sum(RandomPruning().plan(views, Keep(0.25), rng=r).layers[0].kept for _ in range(4000))
    assert np.abs(kept / 4000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.parametrize("d", [0.2, 1.0, 5.0])
def test_randomized_pruning_of_gaussian_weights_follows_lemma_4_1(d):
    """Kept share and squared error of 360,000 weights against E w^2 P(pruned | w)."""
    matrix = 0.3 * rng(1).standard_normal((600, 600))
    views = [WeightView("w", matrix)]
    layer = (
        RandomizedMagnitudePruning(d, keep_diagonal=False)
        .plan(views, Keep(1), rng=rng(2))
        .layers[0]
    )
    pruned = np.sqrt(d / (d + 2))
    n = matrix.size
    assert abs(layer.kappa - (1 - pruned)) < 5 * np.sqrt(pruned * (1 - pruned) / n)
    # w^2 exp(-w^2/(d Psi)) has the mean Psi (d/(d+2))^(3/2)
    assert layer.eps**2 == pytest.approx(pruned**3, rel=0.03)


def test_randomized_pruning_protects_the_diagonal():
    matrix = 1e-3 * np.eye(40) + rng(0).standard_normal((40, 40)) * (1 - np.eye(40))
    views = [WeightView("w", matrix)]
    mild, theirs = (
        RandomizedMagnitudePruning(1e6, keep_diagonal=keep)
        .plan(views, Keep(1), rng=rng(0))
        .layers[0]
        .kept.reshape(40, 40)
        for keep in (True, False)
    )
    assert np.diag(mild).all()
    assert not np.diag(theirs).any()
    everything = RandomizedMagnitudePruning(np.inf, keep_diagonal=False)
    assert everything.plan(views, Keep(1), rng=rng(0)).kappa == 0
    with_zeros = [WeightView("z", np.zeros((5, 5)))]
    assert RandomizedMagnitudePruning(0).plan(with_zeros, Keep(1), rng=rng(0)).kappa == 1


@pytest.mark.parametrize("kappa", [0.0, 0.05, 0.5, 0.9, 1.0])
def test_randomized_pruning_solves_for_the_expected_share(kappa):
    matrix = rng(3).standard_t(3, (300, 500))
    plan = RandomizedMagnitudePruning(keep_diagonal=False).plan(
        [WeightView("w", matrix)], Keep(kappa), rng=rng(0)
    )
    assert plan.kappa == pytest.approx(kappa, abs=5 * np.sqrt(0.25 / matrix.size))
    with pytest.raises(InputError, match="`budget`"):
        RandomizedMagnitudePruning().plan([WeightView("w", matrix)], Error(0.1), rng=rng(0))
    with pytest.raises(InputError, match="`d`"):
        RandomizedMagnitudePruning(-1)
