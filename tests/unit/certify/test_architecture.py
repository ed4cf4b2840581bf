"""Architectures, their networks, and quantisation-aware fine-tuning."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate, map_coordinates
from torch import nn

from prunable.certify.architecture import (
    CodedArchitecture,
    count_errors,
    edges,
    forward,
    upright,
    without_weights,
)
from prunable.certify.checkpoint import dense_chain
from prunable.certify.examples import Examples
from prunable.certify.gaussian_posterior import gaussian_certificate
from prunable.certify.quantization import (
    DivergedError,
    QuantizationSettings,
    QuantizedNet,
    fine_tune,
    round_straight_through,
)
from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.numerics.randomness import rng

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def problem():
    """Two blobs in the plane of 16 pixels, told apart by their mean."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 2
    x = torch.randn(300, 1, 4, 4, generator=generator) + 1.5 * (2 * y[:, None, None, None] - 1)
    return x, y


SMALL = CodedArchitecture.parse("c3-3,m2,d", (1, 4, 4), 2)
QUICK = QuantizationSettings(
    epochs=4, float_epochs=2, keep=0.6, prune_rounds=2, rate=1e-3, lr=2e-2, batch_size=50
)


@pytest.mark.parametrize(
    "text",
    ["d", "d300,d100,d", "c5s2-8,m2,c3-12,m2,d", "m2,c3-2,d7,d", "f,u,e5,m4,c1-8,d", "s,u,d"],
)
def test_text_comes_back(text):
    assert CodedArchitecture.parse(text, (1, 28, 28), 10).text == text


def test_names_and_shapes():
    lenet = CodedArchitecture.parse("lenet-300-100", (1, 28, 28), 10)
    assert lenet.n_weights == 266_200
    conv = CodedArchitecture.parse("c5-8,m4,c3-12,m2,d", (1, 28, 28), 10)
    assert conv.shapes == ((8, 1, 5, 5), (12, 8, 3, 3), (10, 12, 3, 3))
    assert conv.n_weights == 2_144


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c5s2", "'c5s2' is not understood"),
        ("", "not understood"),
        ("c3-4", "ending in 10"),
        ("d5", "ending in 10"),
        ("m4,m4,m4,d", "positive sides"),
        ("c0-3,d", "positive sides"),
        ("e3,d", "'e3' is not understood"),
        ("e5,e5,d", "at most 16 channels before e5"),
        ("u,f,d", "f or s as the first step only"),
        ("f,s,d", "f or s as the first step only"),
    ],
)
def test_impossible_architectures_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        CodedArchitecture.parse(text, (1, 28, 28), 10)


def test_forward_is_that_of_torch_modules():
    architecture = CodedArchitecture.parse("c5s2-3,m2,c3-4,d6,d", (2, 12, 12), 5, normalised=False)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 5, 2, 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, 1, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 6),
        nn.ReLU(),
        nn.Linear(6, 5),
    ).double()
    layers = [m for m in model if hasattr(m, "weight")]
    weights = [m.weight.reshape(s) for m, s in zip(layers, architecture.shapes, strict=True)]
    x = torch.randn(7, 2, 12, 12, dtype=torch.float64)
    found = forward(architecture, x, weights, [m.bias for m in layers])
    torch.testing.assert_close(found, model(x))


def test_normalised_networks_do_not_see_the_scale_of_hidden_weights():
    architecture = CodedArchitecture.parse("c3-3,m2,d4,d", (1, 6, 6), 3)
    weights = [torch.randn(s, dtype=torch.float64) for s in architecture.shapes]
    biases = [torch.randn(s[0], dtype=torch.float64) for s in architecture.shapes]
    x = torch.randn(9, 1, 6, 6, dtype=torch.float64)
    scaled = [weights[0] * 7, weights[1] * 0.3, weights[2]]
    torch.testing.assert_close(
        forward(architecture, x, scaled, biases),
        forward(architecture, x, weights, biases),
        rtol=1e-5,
        atol=1e-5,
    )


def test_pooling_before_the_activation_changes_nothing():
    architecture = CodedArchitecture.parse("c3-3,m2,d", (1, 6, 6), 2)
    weights = [torch.randn(s) for s in architecture.shapes]
    biases = [torch.randn(s[0]) for s in architecture.shapes]
    x = torch.randn(9, 1, 6, 6)
    h = nn.functional.conv2d(x, weights[0], padding=1)
    h = h * (h.square().mean((1, 2, 3), keepdim=True) + 1e-8).rsqrt()
    h = nn.functional.max_pool2d(torch.relu(h + biases[0][:, None, None]), 2)
    expected = h.flatten(1) @ weights[1].flatten(1).T + biases[1]
    torch.testing.assert_close(forward(architecture, x, weights, biases), expected)


def test_edges_are_gaussian_like_derivatives():
    """Derivatives of polynomials at the centre, in all directions, by their definition."""
    found = np.array(edges())
    row, column = np.mgrid[-2:3, -2:3]
    first = np.array([(1, 0), (1, 1), (0, 1), (-1, 1)])  # along columns, along rows
    for sign, bank in ((1, found[:8]), (-1, found[8:16])):
        for window, (u, v) in zip(bank[:4], first, strict=True):
            slopes = sign * np.array([(window * column).sum(), (window * row).sum()])
            assert slopes @ (u, v) > 0  # rises in its direction, and level across
            assert slopes @ (-v, u) == pytest.approx(0)
            assert window.sum() == pytest.approx(0)
        bends = np.stack([column**2, row**2, (column + row) ** 2, (column - row) ** 2])
        table = -sign * np.einsum("kij,lij->kl", bank[4:8], bends)  # a spot: falls to both sides
        assert table.argmax(1).tolist() == [0, 1, 2, 3]
        assert np.abs(bank[4:8].sum((1, 2))).max() < 1e-12
        np.testing.assert_allclose(np.abs(bank).sum((1, 2)), 2)
    np.testing.assert_allclose(found[16], np.outer((1, 4, 6, 4, 1), (1, 4, 6, 4, 1)) / 1024)


@pytest.mark.parametrize("begun", [False, True])
def test_edge_steps_are_correlations_of_every_channel(begun):
    architecture = CodedArchitecture.parse("e5,m2,d", (2, 6, 6), 3)
    weight = torch.randn(architecture.shapes[0], dtype=torch.float64)
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    hidden = np.stack(
        [
            [correlate(c, w, mode="constant") for c in e for w in np.array(edges())]
            for e in x.numpy()
        ]
    )
    hidden /= np.sqrt(np.square(hidden).mean((1, 2, 3), keepdims=True) + 1e-8)
    pooled = np.maximum(hidden, 0).reshape(4, 34, 3, 2, 3, 2).max((3, 5))
    expected = np.tensordot(pooled, weight.numpy(), ((1, 2, 3), (1, 2, 3))) + 0.5
    given = without_weights(architecture, x) if begun else x
    found = forward(architecture, given, [weight], [torch.full((3,), 0.5)], begun=begun)
    np.testing.assert_allclose(found, expected)


def test_pictures_are_sheared_by_their_moments():
    """By SciPy's linear interpolation, with moments of NumPy's weighted covariance."""
    g = rng(0, "slanted pictures")
    x = g.random((5, 2, 9, 12)) ** 4
    x[:3] *= np.exp(-((np.arange(12) - 2 * np.arange(9)[:, None] / 3 - 2) ** 2) / 4)
    expected = np.empty_like(x)
    row, column = np.mgrid[:9, :12].astype(float)
    for k, picture in enumerate(x):
        mass = np.square(picture).sum(0)
        cov = np.cov(np.stack([row.ravel(), column.ravel()]), aweights=mass.ravel(), ddof=0)
        slant = cov[0, 1] / (cov[0, 0] + 0.01)
        assert abs(slant) > 0.3 or k > 2
        along = column + slant * (row - np.average(row, weights=mass))
        for c, channel in enumerate(picture):
            found = map_coordinates(channel, [row, along], order=1, mode="grid-constant")
            expected[k, c] = found
    np.testing.assert_allclose(upright(torch.from_numpy(x)).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("picture", [np.zeros((6, 6)), np.ones((6, 6)), None])
def test_pictures_without_a_slant_stay(picture):
    """Black ones, even ones, and those of one row, whose slant no rounding may decide."""
    if picture is None:
        picture = np.zeros((6, 6))
        picture[4] = 1 / np.arange(1, 7)
    x = torch.from_numpy(picture)[None, None]
    np.testing.assert_allclose(upright(x).numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("first", ["f", "s"])
def test_chains_of_views_add_up_what_they_say_of_each(first, begun):
    plain = CodedArchitecture.parse("u,e5,m2,c3-4,m2,d", (2, 8, 8), 3)
    both = CodedArchitecture.parse(f"{first},u,e5,m2,c3-4,m2,d", (2, 8, 8), 3)
    weights = [torch.randn(shape, dtype=torch.float64) for shape in plain.shapes]
    biases = [torch.randn(shape[0], dtype=torch.float64) for shape in plain.shapes]
    x = torch.rand(5, 2, 8, 8, dtype=torch.float64)
    seen = [x.numpy(), x.numpy()[..., ::-1]]
    if first == "s":
        rows = [np.roll(x.numpy(), by, 2) for by in (1, -1)]
        seen = [np.roll(found, by, 3) for found in rows for by in (1, -1)]
    parts = [forward(plain, torch.from_numpy(part.copy()), weights, biases) for part in seen]
    inputs = []
    given = without_weights(both, x) if begun else x
    found = forward(both, given, weights, biases, begun=begun, inputs=inputs)
    torch.testing.assert_close(found, sum(parts))
    n = len(parts)
    assert [tuple(part.shape) for part in inputs] == [(5, n, 34, 4, 4), (5, n, 4, 2, 2)]
    assert both.views == n
    assert both.work == n * (plain.work + 2 * 8 * 8 * 9)


def test_ties_are_errors():
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 2.0, 0.0]], dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.int64)
    assert count_errors(lambda _: logits, torch.zeros(3, 1), y) == 2
    assert count_errors(lambda _: logits * 0, torch.zeros(3, 1), y) == 3


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(InputError, match="NaN or infinite"):
        count_errors(
            lambda x: x.double() * 0 + value, torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
        )
    with pytest.raises(InputError, match="empty training set"):
        count_errors(lambda x: x, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_dense_chains_are_recognised():
    # as archives list them: by name, biases first, and 10 before 2
    tensors = {
        "10.weight": torch.randn(3, 5),
        "2.bias": torch.randn(5),
        "2.weight": torch.randn(5, 12),
    }
    found = dense_chain(tensors, (1, 3, 4))
    assert found.architecture.text == "d5,d"
    assert found.weights[0].shape == (5, 1, 3, 4)
    assert torch.equal(found.biases[0], tensors["2.bias"])
    assert not found.biases[1].any()
    for wrong in (
        {"a": torch.randn(5, 11)},
        {"a": torch.randn(5, 12), "b": torch.randn(3, 4)},
        {"k": torch.randn(2, 1, 3, 3)},
        {},
        {"a": torch.randn(1, 12)},
    ):
        with pytest.raises(UnsupportedModelError):
            dense_chain(wrong, (1, 3, 4))


def test_gradient_passes_the_rounding():
    value = torch.tensor([0.2, 0.5, 1.5, -2.7], requires_grad=True)
    rounded = round_straight_through(value)
    np.testing.assert_array_equal(rounded.detach().numpy(), [0, 0, 2, -3])
    (rounded * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    np.testing.assert_array_equal(value.grad.numpy(), [1, 2, 3, 4])


def test_integers_stay_in_range_and_pruned_weights_stay_zero(problem):
    net = QuantizedNet.fresh(SMALL, 2, 0)
    log = fine_tune(net, *problem, QUICK)
    assert log[-1]["kept"] == pytest.approx(0.6, abs=0.02)
    for layer, mask in enumerate(net.masks):
        integers = net.integers(layer)
        assert (integers == integers.round()).all()
        assert integers.abs().max() <= 2
        assert not integers[mask == 0].any()
    errors = count_errors(lambda x: net.logits(x.float(), rounded=True).double(), *problem)
    assert errors < 30


def test_pruning_keeps_the_largest_and_of_ties_the_first():
    architecture = CodedArchitecture.parse("d2,d", (1, 1, 3), 2, normalised=False)
    weights = [torch.tensor([[3.0, -1, 1], [1, 2, -1]]), torch.tensor([[1.0, -4], [1, 1]])]
    shaped = [w.reshape(s) for w, s in zip(weights, architecture.shapes, strict=True)]
    net = QuantizedNet(architecture, 2, shaped, [torch.zeros(2)] * 2)
    net.prune(0.5)
    kept = [mask.flatten().tolist() for mask in net.masks]
    assert kept == [[1, 1, 1, 0, 1, 0], [0, 1, 0, 0]]
    net.prune(0.01)
    assert sum(mask.sum() for mask in net.masks) == 1


def test_price_of_bits_shortens_the_code(problem):
    kept = []
    for rate in (0.0, 0.05):
        net = QuantizedNet.fresh(SMALL, 2, 0)
        settings = QuantizationSettings(
            epochs=30, float_epochs=4, keep=0.6, rate=rate, lr=2e-2, batch_size=50
        )
        fine_tune(net, *problem, settings)
        kept.append(sum(int((net.integers(i) != 0).sum()) for i in range(2)))
    assert kept[1] < 0.9 * kept[0]


def test_interrupted_training_ends_with_the_same_numbers(problem, tmp_path):
    def stop(epoch, _loss):
        if epoch == 3:
            raise KeyboardInterrupt

    whole = QuantizedNet.fresh(SMALL, 2, 0)
    fine_tune(whole, *problem, QUICK)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fine_tune(QuantizedNet.fresh(SMALL, 2, 0), *problem, QUICK, checkpoint=path, on_epoch=stop)
    resumed = QuantizedNet.fresh(SMALL, 2, 0)
    fine_tune(resumed, *problem, QUICK, checkpoint=path)
    for mine, theirs in zip(
        [*whole.weights, *whole.steps], [*resumed.weights, *resumed.steps], strict=True
    ):
        assert torch.equal(mine, theirs)


def test_foreign_checkpoints_are_refused(problem, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(DataIntegrityError, match=str(path)):
        fine_tune(QuantizedNet.fresh(SMALL, 2, 0), *problem, QUICK, checkpoint=path)
    path.unlink()
    other = QuantizedNet.fresh(CodedArchitecture.parse("c3-2,m2,d", (1, 4, 4), 2), 2, 0)
    fine_tune(other, *problem, QUICK, checkpoint=path)
    with pytest.raises(DataIntegrityError, match="delete it"):
        fine_tune(QuantizedNet.fresh(SMALL, 2, 0), *problem, QUICK, checkpoint=path)


def test_bad_training_is_refused(problem):
    x, y = problem
    net = QuantizedNet.fresh(SMALL, 2, 0)
    with pytest.raises(InputError, match="empty training set"):
        fine_tune(net, x[:0], y[:0], QUICK)
    with pytest.raises(DivergedError, match="diverged in epoch 1") as caught:
        fine_tune(net, x * torch.nan, y, QUICK)
    assert caught.value.exit_code == 5
    with pytest.raises(InputError, match="NaN or infinite"):
        QuantizedNet(
            SMALL, 2, [torch.full(s, torch.nan) for s in SMALL.shapes], [torch.zeros(3)] * 2
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"levels": 0},
        {"keep": 0.0},
        {"keep": 1.1},
        {"rate": -1.0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"float_epochs": 99},
        {"smoothing": 1.0},
        {"batch_size": 0},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        QuantizationSettings.create(**wrong)


def test_noise_on_the_weights_is_certified(problem):
    x, y = problem
    net = QuantizedNet.fresh(SMALL, 2, 0)
    fine_tune(net, x, y, QUICK)
    repeats = Examples(np.tile(x.numpy(), (20, 1, 1, 1)), np.tile(y.numpy(), 20))
    bounds = gaussian_certificate(net.pruned(), repeats, 0.05, draws=300)
    assert len(bounds) == 2
    for bound in bounds:
        assert bound.delta == 0.05
        assert bound.term("r(Q)").value < bound.value < 0.5
    again = gaussian_certificate(net.pruned(), repeats, 0.05, draws=300)
    assert [b.value for b in again] == [b.value for b in bounds]
