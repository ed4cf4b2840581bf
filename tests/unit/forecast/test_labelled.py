"""Labels beside a forecast: what few of them may and may not overturn."""

import numpy as np
import pytest

from prunable.forecast.estimators.estimate import Estimate
from prunable.forecast.estimators.labelled import powered, with_labels

INPUTS, LABELS = 1000, 50


def _case(apart: float) -> tuple[Estimate, Estimate, float]:
    """A sharp forecast, 50 labels that are `apart` of their errors from it, and what comes out."""
    rng = np.random.default_rng(0)
    influence = 0.3 * rng.standard_normal(INPUTS)
    outcome = np.full(INPUTS, np.nan)
    outcome[:LABELS] = rng.permutation(np.repeat([0.0, -1.0], LABELS // 2))
    believed = np.full(INPUTS, -0.5) + 1e-3 * rng.standard_normal(INPUTS)
    labelled, _ = powered(0.9, outcome, believed, 0.25)
    forecast = Estimate(labelled.value + apart * labelled.error, influence - influence.mean())
    both, _ = with_labels(forecast, 0.01, 0.9, outcome, believed, 0.25)
    weight = (both.value - labelled.value) / (forecast.value - labelled.value)
    return forecast, labelled, weight


@pytest.mark.parametrize("apart", [0.5, 1.5, 2.5, -2.5])
def test_what_chance_does_to_few_labels_does_not_overturn_a_forecast(apart):
    forecast, labelled, weight = _case(apart)
    assert labelled.error > 5 * forecast.error
    assert weight > 0.9


def test_labels_that_contradict_a_forecast_beyond_chance_replace_it():
    assert _case(10.0)[2] < 0.1
