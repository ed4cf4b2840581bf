"""Appendices A.4 and A.5: checks of other estimators and other centring hold and fail."""

from scipy.stats import norm

from prunable.papers.barsbey2021 import ITEMS
from prunable.papers.barsbey2021.specs import OTHERS, GaussianTailSpec

BY_NAME = {item.name.removeprefix("barsbey2021-"): item for item in ITEMS}
GAUSSIAN = (1.99 + 1e-3 * norm.ppf((0.5 + 1.0 * i) / 40) for i in range(40))
ALPHAS = list(GAUSSIAN)


def network(spec, alpha, other, level):
    """A stored result of one network, with one estimate by all other methods, one curve."""
    return {
        "status": "done",
        "reason": "",
        "stopped": True,
        "eta_over_b": spec.train.lr / spec.train.batch_size,
        "alpha": alpha,
        "alphas": dict.fromkeys(OTHERS, other),
        "dense": {"test_accuracy": 1.0},
        "layers": [],
        "curves": {"magnitude": {"pruned": [0.0, 1.0], "test_accuracy": [level, level]}},
    }


def gathered(name, *, turned=False, shift=0.0, scale=1.0):
    """Findings where heavier tails come with larger eta / b, by all methods or by the authors'."""
    item = BY_NAME[name]
    plan = item.plan("laptop", "paper")
    results = {}
    for key, spec in plan.runs.items():
        if isinstance(spec, GaussianTailSpec):
            layer = {"name": "1.weight", "alphas": ALPHAS}
            results[key] = {"status": "done", "reason": "", "alphas": ALPHAS, "layers": [layer]}
            continue
        heavy = scale * min(spec.train.lr / spec.train.batch_size / 1e-2, 1.0)
        moved = shift if spec.center != "median" else 0.0
        other = 1.8 + heavy if turned else 1.8 - heavy
        results[key] = network(spec, 2 - heavy, other, 0.5 + 0.3 * heavy + moved)
    return item.gather(plan, results)


def test_estimators_of_one_order_hold_and_of_the_reverse_contradict():
    found = gathered("a4")
    assert [check.outcome for check in found.checks] == ["holds"] * len(OTHERS)
    assert len(found.panels) == 6
    turned = gathered("a4", turned=True)
    assert [check.outcome for check in turned.checks] == ["contradicted"] * len(OTHERS)


def test_orders_within_the_noise_are_not_compared():
    """Indices that differ by less than Gaussian networks' have no order that could agree."""
    found = gathered("a4", scale=1e-3)
    assert [check.holds for check in found.checks] == [None] * len(OTHERS)
    assert sum("no order to compare" in note for note in found.notes) == 6


def test_centring_that_matters_fails():
    found = gathered("a5", shift=0.005)
    assert all(check.holds for check in found.checks)
    assert [series.label for series in found.panels[0].series] == ["means", "no centring"]
    far = gathered("a5", shift=0.05)
    essential = [check for check in far.checks if check.essential]
    assert len(essential) == 2
    assert not any(check.holds for check in essential)
    assert "0.0500" in essential[0].evidence
