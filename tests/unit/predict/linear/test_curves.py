"""Curves, presets, recommendations and the paper's claims about them."""

import math

import numpy as np
import pytest

from prunable import predict
from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.curves import Wanted, default_points, predict_risks, sweep, sweep_curve
from prunable.predict.linear.names import Method, Variable
from prunable.predict.linear.presets import PRESETS, preset
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.recommend import recommend
from prunable.predict.linear.simulate import simulate_replica, summarise

WIDTHS = np.arange(10, 1001, 10)
ALL = Wanted(retrain_by=tuple(Method))


@pytest.fixture(scope="module")
def curves():
    return {
        name: sweep_curve("width", panel.problem, panel.n, panel.s, WIDTHS, ALL)
        for name, panel in ((name, preset(name)) for name in ("fig3a", "fig3b"))
    }


def distinct(sigma=0.3):
    """No two features alike."""
    g = rng(0, "curves")
    return LinearGaussianProblem.diagonal(
        g.exponential(size=120) ** 3, g.standard_normal(120) / 11, sigma
    )


@pytest.mark.parametrize("finite_n", [False, True])
@pytest.mark.parametrize("problem", [distinct(), preset("fig3b", p=120, sigma=0.3).problem])
def test_vectorised_sweeps_are_single_predictions(problem, finite_n):
    wanted = Wanted(retrain_by=tuple(Method), finite_n=finite_n)
    widths, samples, kept, sigmas = [120, 7, 40, 12, 41], [40, 5, 119, 300], [1, 12, 120], [0, 2.0]
    pairs = [
        (
            sweep_curve("width", problem, 40, 12, widths, wanted),
            [(problem.restricted(np.arange(k)), 40, min(12, k)) for k in widths],
        ),
        (
            sweep_curve("samples", problem, 40, 12, samples, wanted),
            [(problem, n, 12) for n in samples],
        ),
        (sweep_curve("sparsity", problem, 40, 12, kept, wanted), [(problem, 40, s) for s in kept]),
        (
            sweep_curve("sigma", problem, 40, 12, sigmas, wanted),
            [(problem.with_sigma(x), 40, 12) for x in sigmas],
        ),
    ]
    for curve, settings in pairs:
        single = [predict_risks(*setting, wanted) for setting in settings]
        for name, values in curve.risk.items():
            expected = [risks.risk[name].value for risks in single]
            np.testing.assert_allclose(values, expected, rtol=1e-9, err_msg=name)
        assert list(curve.regimes) == [risks.law.regime for risks in single]


def test_correlated_sweeps_and_other_families():
    problem = LinearGaussianProblem.spectral(
        np.geomspace(0.1, 2, 40), np.ones(40) / 6, 0.3
    ).rotated(rng(0))
    ticks = []
    curve = sweep_curve(
        "width",
        problem,
        15,
        5,
        [4, 20, 40],
        Wanted(draws=8),
        rng=rng(1),
        advance=lambda: ticks.append(1),
    )
    assert len(ticks) == 3
    assert curve.stderr["magnitude"][1] > 0
    assert curve.risk["dense"][0] == pytest.approx(curve.risk["magnitude"][0])

    def decaying(a):
        return LinearGaussianProblem.diagonal(np.arange(1, 41.0) ** -a, np.full(40, 0.1), 0.1)

    found = sweep("decay", [0, 1, 2], lambda a: predict_risks(decaying(a), 15, 5))
    assert found.variable == "decay"
    assert np.all(np.isfinite(found.risk["hessian"]))


def test_a_risk_that_is_not_predicted_is_missing():
    curve = sweep(
        "k",
        [1, 2],
        lambda k: predict_risks(distinct(), 40, 10, Wanted(methods=tuple(Method)[: int(k)])),
    )
    assert math.isnan(curve.risk["hessian"][0])
    document = curve.to_dict()
    assert document["risk"]["hessian"][0] is None
    assert document["regime"] == ["overparameterized"] * 2


def test_infinite_risks_are_null_in_json(curves):
    document = curves["fig3b"].to_dict()
    place = document["points"].index(300.0)
    assert document["risk"]["dense"][place] is None
    assert document["regime"][place] == "at interpolation"
    assert document["risk"]["retrained"][place] is not None


def test_hessian_equals_magnitude_pruning_for_identity_covariance(curves):
    np.testing.assert_allclose(
        curves["fig3a"].risk["hessian"], curves["fig3a"].risk["magnitude"], rtol=1e-12
    )


def test_overparameterized_pruning_beats_every_small_model(curves):
    """Figure 3b: Hessian 1.206 and oracle 1.188 at full width, against 1.350 at best below n."""
    risk = curves["fig3b"].risk
    below = WIDTHS < 300
    best_small = min(np.min(values[below]) for values in risk.values())
    assert best_small == pytest.approx(1.350, abs=1e-3)
    assert best_small == pytest.approx(risk["dense"][WIDTHS == 100][0])
    retrained = min(np.nanmin(risk[name]) for name in risk if name.startswith("retrained"))
    assert retrained == pytest.approx(best_small)
    assert risk["hessian"][-1] == pytest.approx(1.206, abs=1e-3)
    assert risk["oracle"][-1] == pytest.approx(1.188, abs=1e-3)
    for name in ("hessian", "oracle"):
        # the least pruned risk lies at full width
        assert np.argmin(risk[name]) == WIDTHS.size - 1
    # magnitude pruning ignores the spikes of the covariance, and never gets there
    assert risk["magnitude"][-1] > 1.6 * best_small


def test_retraining_hurts_except_near_interpolation(curves):
    """Figure 7 of the 2020 paper."""
    far = (WIDTHS >= 100) & ((WIDTHS <= 150) | (WIDTHS >= 450))
    for curve in curves.values():
        for name, again in (("magnitude", "retrained"), ("hessian", "retrained_hessian")):
            pruned, retrained = curve.risk[name], curve.risk[again]
            assert np.all(retrained[far] >= pruned[far] * (1 - 1e-12))
            near = np.abs(WIDTHS - 300) <= 10
            assert np.all(retrained[near] < pruned[near])


def test_retraining_helps_correlated_features():
    """Section 4 of the 2020 paper: several features carry the same signal."""
    g = rng(0, "copies")
    A = g.standard_normal((10, 200))
    covariance = A.T @ A / 10 + 0.05 * np.eye(200)
    problem = LinearGaussianProblem.dense(covariance, A.T @ g.standard_normal(10) / 300, 0.1)
    found = predict_risks(problem, 100, 20, Wanted(retrain_by=(Method.MAGNITUDE,)), rng=g).risk
    assert found["retrained"].value < 0.5 * found["magnitude"].value


def test_recommendations():
    panel = preset("fig3b")
    found = recommend(panel.problem, panel.n, panel.s)
    assert (found.width, found.model, found.regime) == (1000, "hessian", "overparameterized")
    assert found.direct_risk == pytest.approx(1.35)
    assert (found.informed_risk, found.informed_size) == (pytest.approx(1.35), 100)
    assert found.gain == pytest.approx(1 - 1.2064 / 1.35, abs=1e-4)
    assert found.beats_informed
    assert found.proven
    assert min(found.winning_widths) > 600
    first = recommend(preset("fig3a").problem, 300, 100)
    assert (first.width, first.model, first.winning_widths) == (100, "dense", ())
    assert not first.beats_informed
    assert first.to_dict()["gain"] == 0


def test_recommendation_for_more_features_than_samples():
    found = recommend(preset("fig3b", sigma=0.3).problem, 60, 100, retrain=True)
    assert found.risk <= found.direct_risk
    # the informed small model is the best of all sizes up to s: brute force
    energy = np.sort(preset("fig3b").problem.variances / 1000)[::-1]
    sizes = np.arange(60)
    risks = (0.09 + energy.sum() - np.append(0, np.cumsum(energy))[sizes]) / (1 - sizes / 60)
    assert found.informed_risk <= risks.min() + 1e-12
    noisy = recommend(preset("fig3b", sigma=30.0).problem, 300, 100)
    assert noisy.informed_size == 0


def test_recommendation_for_correlated_features():
    problem = LinearGaussianProblem.spectral(
        np.geomspace(0.1, 2, 40), np.ones(40) / 6, 0.3
    ).rotated(rng(0))
    found = recommend(problem, 15, 8, widths=[8, 20, 40], retrain=True, rng=rng(1))
    assert found.width in (8, 20, 40)
    assert math.isfinite(found.informed_risk)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_scale(name):
    small, large = preset(name, p=100), preset(name, p=1000)
    assert (small.n, small.s) == (30, 10)
    assert small.problem.signal == pytest.approx(large.problem.signal) == pytest.approx(3.4)


def test_default_points():
    problem = distinct()
    assert default_points(Variable.WIDTH, problem, 12) == [float(10 * k) for k in range(1, 13)]
    assert default_points(Variable.SAMPLES, problem, 4)[-1] == 360
    sigmas = default_points(Variable.SIGMA, problem, 3)
    assert sigmas[0] == 0
    assert sigmas[2] == pytest.approx(2 * math.sqrt(problem.signal))
    for variable in Variable:
        points = default_points(variable, problem, 3)
        assert sweep_curve(variable, problem, 40, 12, points).variable == variable.value


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: sweep_curve("width", distinct(), 40, 12, [0]), "`s` of `sweep_curve`"),
        (lambda: sweep_curve("width", distinct(), 40, 12, []), "`points`"),
        (lambda: sweep_curve("width", distinct(), 40, 12, [1.5]), "`points`"),
        (lambda: sweep_curve("sparsity", distinct(), 40, 12, [121]), "`s` of `sweep_curve`"),
        (lambda: sweep_curve("sigma", distinct(), 40, 12, [-1.0]), "`sigma`"),
        (lambda: sweep_curve("samples", distinct(), 40, 12, [0]), "`n`"),
        (lambda: sweep_curve("width", distinct(), 0, 12, [40]), "`n`"),
        (lambda: sweep_curve("depth", distinct(), 40, 12, [40]), "one of width, sparsity"),
        (lambda: predict.simulate_curve("depth", distinct(), 40, 12, [40], 2), "`variable`"),
        (lambda: default_points(Variable.WIDTH, distinct(), 1), "`points`"),
        (lambda: predict_risks(distinct(), 40, 12, Wanted(same_data_by=tuple(Method))), "`rng`"),
        (lambda: preset("fig9"), "`preset`"),
        (lambda: preset("fig3a", p=15), "`p`"),
        (lambda: predict.lgp(10), "`p` of `predict.lgp`"),
        (lambda: predict.lgp(10, p=3, spectrum=[1.0]), "`spectrum` of `predict.lgp`"),
        (lambda: predict.lgp(10, p=0), "`p`"),
        (lambda: predict.lgp(10, 5, 2, method="best"), "`method`"),
        (lambda: predict.lgp(10, 5, 6), "`s`"),
        (lambda: predict.lgp(5, spectrum=[1.0], covariance=np.eye(1)), "not both"),
        (lambda: predict.simulate(distinct(), 40, 12, 1), "`replicas`"),
        (lambda: predict.simulate(distinct(), 40, 12, 2, workers=0), "`workers`"),
        (lambda: summarise([{"dense": 1.0}]), "`replicas`"),
    ],
)
def test_bad_input_is_named(act, says):
    with pytest.raises(InputError, match=says):
        act()


def test_facade_and_its_json():
    found = predict.lgp(300, 1000, 100, 0.5)
    document = found.to_dict()
    assert list(document)[:3] == ["settings", "risk", "fixed_point"]
    assert list(document["risk"]) == ["dense", "magnitude", "hessian", "oracle", "retrained"]
    assert document["risk"]["dense"] == pytest.approx(10 / 7 * (0.25 + 0.7**2))
    assert document["fixed_point"]["xi"] == pytest.approx(3 / 7)
    assert document["fixed_point"]["gamma"] == document["risk"]["dense"]
    assert document["risk"]["retrained"] == pytest.approx((0.25 + 0.9) * 1.5)
    assert document["retrained_same_data"] < document["risk"]["retrained"]
    assert any("fresh data" in note for note in found.notes)
    again = predict.lgp(300, 1000, 100, 0.5)
    assert again.to_dict() == document


def test_results_as_tables():
    found = predict.lgp(30, 60, 10, 0.5)
    frame = found.to_pandas()
    assert list(frame["model"]) == list(found.risk)
    assert "<td>retrained_same_data</td>" in found._repr_html_()
    assert repr(found).startswith("Prediction(n=30, p=60, s=10, dense=")
    advice = predict.recommend(distinct(), 40, 12)
    assert advice.to_pandas()["width"][0] == advice.width
    curve = advice.curve.to_pandas()
    assert list(curve["width"]) == list(advice.curve.points)
    assert np.isfinite(curve["magnitude"]).all()


def test_facade_says_what_is_infinite():
    at = predict.lgp(50, 50, 10, 1.0)
    assert at.to_dict()["risk"]["dense"] is None
    assert "infinite expected risk" in at.notes[0]
    recovered = predict.lgp(50, 50, 10, 0.0)
    assert "exact recovery" in recovered.notes[0]
    kept = predict.lgp(50, 100, 50, 1.0)
    assert kept.to_dict()["risk"]["retrained"] is None
    assert any("no finite risk" in note for note in kept.notes)
    spectral = predict.lgp(20, s=5, problem=predict.problem_of(30, 0.1, eigenvectors="random"))
    assert spectral.to_dict()["risk"]["retrained"] is None
    assert any("eigenvectors" in note for note in spectral.notes)
    flat = predict.lgp(20, spectrum=[1.0, 0.0, 2.0], sigma=0.1)
    assert any("no variance" in note for note in flat.notes)


def test_simulation_does_not_depend_on_workers():
    problem = distinct()
    one = predict.simulate(problem, 40, 12, 4, widths=[20, 120])
    two = predict.simulate(problem, 40, 12, 4, widths=[20, 120], workers=2)
    assert one == two
    ticks = []
    found = predict.simulate_curve(
        Variable.SPARSITY, problem, 40, 12, [3, 12], 2, advance=lambda: ticks.append(1), seed=1
    )
    assert len(ticks) == 4
    assert found["mean"]["dense"][0] == found["mean"]["dense"][1]
    again = simulate_replica(problem, 40, 12, seed=0, replica=3, widths=[20, 120])
    assert again == simulate_replica(problem, 40, 12, seed=0, replica=3, widths=[20, 120])
