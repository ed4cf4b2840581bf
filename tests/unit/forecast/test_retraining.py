"""The law after retraining: known constants come back, probes inform, bad input is named."""

import numpy as np
import pytest

from prunable.errors import InputError
from prunable.forecast.estimators.retraining import (
    LAW,
    Retrained,
    after_retraining,
    design,
    fit_law,
)


def simulated(networks, b, between, within, seed=0):
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(networks):
        own = b + np.sqrt(between) * rng.normal()
        for kappa in (0.5, 0.3, 0.2, 0.1, 0.05):
            one_shot = 0.1 + 0.75 * kappa ** rng.uniform(0.3, 1.5)
            x = design(0.85, [kappa], [one_shot], 0.1)[0, 1]
            ratio = 0.02 + own * x + np.sqrt(within) * rng.normal()
            runs.append(
                Retrained(str(number), 0.85, kappa, one_shot, 1 - 0.15 * float(np.exp(ratio)))
            )
    return runs


def test_constants_come_back():
    """Of 200 networks: b within 5 of its errors, variances within a third."""
    law = fit_law(simulated(200, 0.05, 2e-4, 1e-3), 3)
    assert law.mean[0] == pytest.approx(0.02, abs=0.01)
    assert law.mean[1] == pytest.approx(0.05, abs=5 * np.sqrt(2e-4 / 200) + 1e-3)
    assert law.between == pytest.approx(2e-4, rel=0.33)
    assert law.within == pytest.approx(1e-3, rel=0.33)
    assert law.kappas == (0.05, 0.5)


def test_intervals_cover_other_networks():
    """Nine in ten of 500 runs of 100 networks, which share their network's b: within 7 points."""
    law = fit_law(simulated(100, 0.05, 2e-4, 1e-3), 3)
    inside = []
    for run in simulated(100, 0.05, 2e-4, 1e-3, seed=1):
        found = after_retraining(0.85, [run.kappa], [run.one_shot], law=law)[0]
        inside.append(found.low <= run.retrained <= found.high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.07)


def test_probes_are_bayes_rule():
    """One run of the network itself: the normal posterior of b, written out for one number."""
    kappa, one_shot, after = 0.2, 0.3, 0.80
    x = design(0.88, [kappa], [one_shot], 0.1)[0, 1]
    a, b = LAW.mean
    seen = np.log((1 - after) / 0.12) - a
    posterior = (b / LAW.between + x * seen / LAW.within) / (1 / LAW.between + x**2 / LAW.within)
    found = after_retraining(0.88, [0.1], [0.15], probes=[(kappa, one_shot, after)])[0]
    far = design(0.88, [0.1], [0.15], 0.1)[0, 1]
    assert found.value == pytest.approx(1 - 0.12 * np.exp(a + posterior * far), abs=1e-9)
    plain = after_retraining(0.88, [0.1], [0.15])[0]
    spreads = [np.log((1 - point.low) / (1 - point.high)) for point in (found, plain)]
    assert spreads[0] < spreads[1]


def test_more_pruning_and_more_loss_cost_more():
    found = after_retraining(0.9, [0.5, 0.1, 0.1], [0.85, 0.7, 0.2])
    values = [point.value for point in found]
    assert values == sorted(values, reverse=True)
    assert all(point.low <= point.value <= point.high for point in found)
    wide = after_retraining(0.9, [0.1], [0.7], one_shot_errors=[0.1])[0]
    assert wide.high - wide.low > found[1].high - found[1].low
    assert [p.within_range for p in after_retraining(0.9, [0.9, 0.2], [0.9, 0.5])] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((37, [0.5], [0.5]), {}, "accuracy"),
        ((0.9, [0.5, 0.1], [0.5]), {}, "one a kappa"),
        ((0.9, [0.0], [0.5]), {}, "kappas"),
        ((0.9, [0.5], [50]), {}, "one_shot"),
        ((0.9, [0.5], [0.5]), {"one_shot_errors": [0.1, 0.2]}, "one_shot_errors"),
        ((0.9, [0.5], [0.5]), {"probes": [(0.5, 0.5, 1.0)]}, "probes"),
    ],
)
def test_bad_input_is_named(arguments, options, message):
    with pytest.raises(InputError, match=message):
        after_retraining(*arguments, **options)


def test_few_networks_make_no_law():
    with pytest.raises(InputError, match="at least 3"):
        fit_law(simulated(2, 0.05, 1e-4, 1e-3), 3)
