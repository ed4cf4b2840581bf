"""Moments, shrinkage and risks of given features, and features of networks."""

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.numerics.randomness import rng
from prunable.predict.features.estimate import estimate_features, spread_of_sizes
from prunable.predict.features.extracting import (
    extract_features,
    penultimate_layer,
    stream_features,
)
from prunable.predict.features.moments import (
    Shrinkage,
    fold_moments,
    held_out_share,
    ledoit_wolf_share,
    shrunk,
)
from prunable.predict.features.prediction import predict_features
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Model
from prunable.predict.linear.problem import LinearGaussianProblem


def gaussian(n, p, *, noise=0.5, seed=0):
    """Examples of a linear Gaussian problem with a wide spectrum, and the problem."""
    r = rng(seed, "gaussian")
    spectrum = np.linspace(1, 0.01, p) ** 3 + 1e-3
    turn = np.linalg.qr(r.standard_normal((p, p)))[0]
    beta = turn @ r.standard_normal(p) / np.sqrt(p)
    x = r.standard_normal((n, p)) * np.sqrt(spectrum) @ turn.T
    y = x @ beta + noise * r.standard_normal(n)
    return x, y, LinearGaussianProblem.dense(turn * spectrum @ turn.T, beta, noise)


def test_moments_do_not_depend_on_batches():
    x, y, _ = gaussian(103, 6)
    targets = np.column_stack([y, y**2])
    whole = fold_moments([(x, targets)], folds=4)
    parts = fold_moments(
        [(x[:1], targets[:1]), (x[1:50], targets[1:50]), (x[50:], targets[50:])], folds=4
    )
    for one, other in zip(whole.folds, parts.folds, strict=True):
        np.testing.assert_allclose(one.second, other.second, rtol=1e-12)
        np.testing.assert_allclose(one.cross, other.cross, rtol=1e-12)
        assert one.n == other.n
    chosen = np.arange(103) % 4 == 2
    np.testing.assert_allclose(whole.folds[2].second, x[chosen].T @ x[chosen] / chosen.sum())
    np.testing.assert_allclose(whole.folds[2].target, np.mean(targets[chosen] ** 2, axis=0))
    together = whole.together()
    np.testing.assert_allclose(together.second, x.T @ x / 103, rtol=1e-12)
    np.testing.assert_allclose(together.fourth, np.mean(np.sum(x**2, axis=1) ** 2), rtol=1e-12)
    training, held_out = next(whole.splits())
    assert training.n + held_out.n == 103
    w = rng(1).standard_normal((3, 6))
    for c in range(2):
        direct = np.mean((targets[:, c] - x @ w[0]) ** 2)
        assert together.risk(w, c)[0] == pytest.approx(direct)


def test_ledoit_wolf_against_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    x, y, _ = gaussian(40, 30)
    moments = fold_moments([(x, y)]).together()
    expected = covariance.ledoit_wolf_shrinkage(x, assume_centered=True)
    assert ledoit_wolf_share(moments) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(
        shrunk(moments.second, expected),
        covariance.LedoitWolf(assume_centered=True).fit(x).covariance_,
        rtol=1e-8,
        atol=1e-12,
    )


def test_shrinkage_falls_with_examples():
    shares = [held_out_share(fold_moments([gaussian(n, 40)[:2]])) for n in (30, 100, 3000)]
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] < 0.01


def test_estimate_of_many_examples():
    """Standard errors: noise 1 %, energy 2 %; bounds are above five of them."""
    x, y, problem = gaussian(20_000, 60)
    found = estimate_features(fold_moments([(x, y)]))
    assert found.noise[0] == pytest.approx(0.25, rel=0.06)
    beta = found.coefficients[:, 0]
    assert beta @ problem.covariance @ beta == pytest.approx(problem.signal, rel=0.12)
    moments = found.moments()
    assert moments.target == pytest.approx(np.mean(y**2), rel=0.02)
    assert found.held_out[0] >= found.noise[0]


@pytest.mark.parametrize("n", [150, 400])
def test_signal_and_noise_never_exceed_the_target(n):
    x, y, _ = gaussian(n, 200, seed=n)
    found = estimate_features(fold_moments([(x, y)]))
    assert found.moments().target <= np.mean(y**2) * (1 + 1e-9)
    assert found.noise[0] > 0


@pytest.mark.parametrize("seed", range(6))
def test_noise_alone_holds_no_signal(seed):
    g = rng(seed, "noise")
    x, y = g.standard_normal((84, 6)), g.integers(0, 2, 84)
    found = estimate_features(fold_moments([(x, y)]))
    assert np.isfinite(found.noise).all()
    assert np.isfinite(found.coefficients).all()


def test_scales_and_rotations_pass_through():
    """Twice the features halve the weights; twice the targets quadruple the noise."""
    x, y, _ = gaussian(600, 20)
    plain = estimate_features(fold_moments([(x, y)]))
    scaled = estimate_features(fold_moments([(2 * x, 2 * y)]))
    np.testing.assert_allclose(scaled.coefficients, plain.coefficients, rtol=1e-6)
    np.testing.assert_allclose(scaled.noise, 4 * plain.noise, rtol=1e-6)
    turn = np.linalg.qr(rng(7).standard_normal((20, 20)))[0]
    turned = estimate_features(fold_moments([(x @ turn, y)]))
    np.testing.assert_allclose(turned.coefficients, turn.T @ plain.coefficients, atol=1e-7)


def test_features_that_are_zero_are_left_out():
    x, y, _ = gaussian(400, 12)
    padded = np.zeros((400, 15))
    places = [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 14]
    padded[:, places] = x
    found = estimate_features(fold_moments([(padded, y)]))
    assert list(found.used) == places
    assert found.n_features == 15
    plain = estimate_features(fold_moments([(x, y)]), shrinkage=found.share)
    np.testing.assert_allclose(found.coefficients, plain.coefficients, rtol=1e-9)
    risks = predict_features(padded, y, 30, [14, 15], widths=[14, 15], repeats=1)
    first, last = risks.predicted
    assert first.kept == (14,)
    # all that is not zero is kept
    assert last.risks[Model.MAGNITUDE][0] == pytest.approx(last.risks[Model.DENSE][0], rel=1e-9)


def test_duplicated_features_do_not_break_it():
    x, y, _ = gaussian(400, 12)
    found = predict_features(np.hstack([x, x]), y, 50, [6, 20], repeats=2, shrinkage="none")
    alone = predict_features(x, y, 50, [6], repeats=2, shrinkage="none")
    dense = [f.predicted[0].risks[Model.DENSE][0, 0] for f in (found, alone)]
    assert dense[0] == pytest.approx(dense[1], rel=0.02)
    truth = [f.measured[0].risks[Model.DENSE][0, 0] for f in (found, alone)]
    assert truth[0] == pytest.approx(truth[1], rel=1e-9)


def test_spread_of_sizes():
    x, _, problem = gaussian(4000, 50)
    r = rng(9)
    sizes = r.exponential(size=4000)
    for n in (30, 200):
        law = predict_law(problem, n)
        assert spread_of_sizes(law, x) < 0.1
        # x^T W x is then the exponential times a Gaussian form, up to the form's own spread
        assert spread_of_sizes(law, x * np.sqrt(sizes)[:, None]) == pytest.approx(1, abs=0.25)


def test_centring_equals_centred_data():
    x, y, _ = gaussian(500, 10)
    shifted = predict_features(x + 3, y - 2, 40, [5], center=True, repeats=1)
    plain = predict_features(x, y, 40, [5], center=True, repeats=1)
    for one, other in zip(shifted.points(), plain.points(), strict=True):
        # the others average over draws, which rounding turns
        for model in (Model.DENSE, Model.ORACLE):
            assert one["risk"][model] == pytest.approx(other["risk"][model], rel=1e-6)


def test_points_and_errors():
    x, y, _ = gaussian(600, 30)
    found = predict_features(x, np.column_stack([y, -y]), 20, [5, 25], widths=[10, 30], repeats=2)
    points = found.points()
    assert [(row["width"], row["s"]) for row in points] == [(10, 5), (30, 5), (30, 25)]
    row = points[0]
    # both targets are the same problem
    assert row["risk"]["dense"] == pytest.approx(2 * found.predicted[0].risks[Model.DENSE][0, 0])
    assert set(row["measured"]) == set(Model)
    expected = 100 * (row["risk"]["dense"] / row["measured"]["dense"] - 1)
    assert row["error_percent"]["dense"] == pytest.approx(expected)
    # n features or more are not predicted for retraining on the same data
    assert points[2]["risk"]["retrained_same_data"] is None
    assert found.errors()["dense"]["largest_absolute"] >= abs(expected)
    silent = predict_features(x, y, 20, [5], repeats=0)
    assert silent.measured == ()
    frame = found.to_pandas()
    assert list(frame["dense risk"]) == [row["risk"]["dense"] for row in points]
    assert list(frame["oracle measured"]) == [row["measured"]["oracle"] for row in points]
    assert repr(found) == "FeaturesPrediction(n=20, widths 10, 30)"
    assert found.to_dict()["points"] == points
    assert silent.errors() == {}
    assert "measured" not in silent.points()[0]


def test_progress_counts_every_step():
    x, y, _ = gaussian(200, 10)
    told = []
    predict_features(
        x,
        np.column_stack([y, y]),
        20,
        [5],
        widths=[5, 10],
        repeats=3,
        on_done=lambda *step: told.append(step),
    )
    assert [done for done, _, _ in told] == list(range(1, 8))
    assert {total for _, total, _ in told} == {7}


BAD = {
    "nan": (
        lambda x, y: (np.where(np.arange(x.size).reshape(x.shape) == 13, np.nan, x), y),
        {},
        "row 1, column 3",
    ),
    "inf target": (lambda x, y: (x, np.where(np.arange(y.size) == 4, np.inf, y)), {}, "`y`"),
    "text": (lambda x, y: (x.astype(str).astype(object) + "a", y), {}, "numbers"),
    "vector": (lambda x, y: (x[:, 0], y), {}, "`X`"),
    "short y": (lambda x, y: (x, y[:-1]), {}, "`y`"),
    "s > p": (lambda x, y: (x, y), {"kept": [11]}, "p = 10"),
    "s = 0": (lambda x, y: (x, y), {"kept": [0]}, "`s`"),
    "n small": (lambda x, y: (x, y), {"n": 2}, "`n`"),
    "n large": (lambda x, y: (x, y), {"n": 71}, "at most 70"),
    "width": (lambda x, y: (x, y), {"widths": [12]}, "`widths`"),
    "width below s": (lambda x, y: (x, y), {"widths": [3]}, "`widths`"),
    "shrinkage": (lambda x, y: (x, y), {"shrinkage": "ledoit"}, "`shrinkage`"),
    "share": (lambda x, y: (x, y), {"shrinkage": 1.5}, "`shrinkage`"),
    "test share": (lambda x, y: (x, y), {"test_share": 1.0}, "`test_share`"),
    "repeats": (lambda x, y: (x, y), {"repeats": -1}, "`repeats`"),
    "zeros": (lambda x, y: (0 * x, y), {}, "not all 0"),
    "few": (lambda x, y: (x[:9], y[:9]), {"n": 3}, "at least 10 examples"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    x, y, _ = gaussian(100, 10)
    spoil, options, culprit = BAD[case]
    settings = {"n": 20, "kept": [5], "repeats": 1} | options
    n, kept = settings.pop("n"), settings.pop("kept")
    with pytest.raises(InputError, match=culprit):
        predict_features(*spoil(x, y), n, kept, **settings)


def test_shrinkage_by_name_and_number():
    x, y, _ = gaussian(100, 10)
    folded = fold_moments([(x, y)])
    assert estimate_features(folded, shrinkage="none").share == 0
    assert estimate_features(folded, shrinkage=0.25).share == 0.25
    expected = ledoit_wolf_share(folded.together())
    assert estimate_features(folded, shrinkage=Shrinkage.LEDOIT_WOLF).share == expected


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.shared(self.shared(x)))


class Pair(nn.Module):
    """Has a layer that gives two tensors."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 3)
    )


def test_features_of_a_network(network):
    x = torch.randn(50, 4)
    network.train()
    network[1].eval()  # a frozen part
    network(torch.randn(8, 4))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = extract_features(network, x, batch_size=7)
    with torch.no_grad():
        expected = torch.relu(network[1](network[0](x)))
    np.testing.assert_allclose(found, expected.double().numpy(), rtol=1e-6)
    # nothing is left behind
    assert [m.training for m in network] == [True, False, True, True, True]
    assert network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    assert penultimate_layer(network) == "4"


def test_layers_that_work_in_place_are_copied(network):
    x = torch.randn(10, 4)
    network.eval()
    with torch.no_grad():
        before = network[1](network[0](x)).double().numpy()
    np.testing.assert_allclose(extract_features(network, x, "1"), before, rtol=1e-6)
    np.testing.assert_allclose(extract_features(network, x, "2", side="input"), before, rtol=1e-6)
    np.testing.assert_allclose(extract_features(network, x, "2"), np.maximum(before, 0), rtol=1e-6)


def test_batches_of_a_loader(network):
    x = torch.randn(10, 4)
    parts = stream_features(network, iter([x[:3], x[3:]]), "0")
    whole = extract_features(network, x, "0")
    # float32: sums of another order differ by a few units in the last place of their terms
    np.testing.assert_allclose(np.concatenate(list(parts)), whole, rtol=1e-5, atol=1e-6)


def test_feature_maps():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 36, 2))
    x = torch.randn(5, 1, 8, 8)
    flat = extract_features(model, x, "0")
    assert flat.shape == (5, 108)
    pooled = extract_features(model, x, "0", pooling="mean")
    np.testing.assert_allclose(pooled, flat.reshape(5, 3, 36).mean(2), rtol=1e-5)


def test_hooks_go_when_the_network_fails(network):
    with pytest.raises(RuntimeError):
        extract_features(network, torch.randn(5, 9))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize(
    ("model", "x", "options", "error", "culprit"),
    [
        (Twice(), torch.randn(3, 4), {"layer": "shared"}, UnsupportedModelError, "2 times"),
        (Pair(), torch.randn(3, 5, 4), {"layer": "lstm"}, UnsupportedModelError, "tuple"),
        (Twice(), torch.randn(3, 4), {"layer": "tail"}, InputError, "shared, head"),
        (Twice(), torch.randn(0, 4), {}, InputError, "not empty"),
        (Twice(), torch.full((3, 4), torch.nan), {}, InputError, "example 0"),
        (Twice(), torch.randn(3, 4), {"batch_size": 0}, InputError, "`batch_size`"),
        (Twice(), torch.randn(3, 4), {"side": "left"}, InputError, "`side`"),
        (Twice(), torch.randn(3, 4), {"pooling": "max"}, InputError, "`pooling`"),
        (nn.ReLU(), torch.randn(3, 4), {}, UnsupportedModelError, "no torch.nn.Linear"),
        (
            nn.Sequential(nn.Flatten(0), nn.Linear(12, 2)),
            torch.randn(3, 4),
            {"layer": "0"},
            UnsupportedModelError,
            "first axis",
        ),
    ],
)
def test_networks_that_do_not_fit_are_named(model, x, options, error, culprit):
    with pytest.raises(error, match=culprit):
        extract_features(model, x, **options)
