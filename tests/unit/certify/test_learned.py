"""Learned priors: any network, which meets its share of the examples and nothing else."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import beta
from torch import nn

from prunable.certify import pipeline
from prunable.certify.architecture import CodedArchitecture, FloatNetwork
from prunable.certify.examples import Examples, examples_of
from prunable.certify.given import GivenNetwork
from prunable.certify.learned import is_reference, learned_bound
from prunable.certify.polishing import passes
from prunable.certify.quantization import QuantizationSettings, QuantizedNet
from prunable.certify.student import Students, distilled
from prunable.certify.telling import Told
from prunable.data.loaders import load
from prunable.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

DELTA, SHARE = 0.05, 0.4


class Residual(nn.Module):
    """A network with a shortcut and batch statistics."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.last(nn.functional.max_pool2d(x + self.second(x), 2).flatten(1))


class Vectors(nn.Module):
    """A network of rows."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        assert x.ndim == 2
        return self.last(x)


AT_HAND, RESIDUAL = Residual(), f"{__name__}:Residual"


@pytest.fixture(scope="module")
def digits():
    return examples_of(load("digits", flatten=False))


def found(digits, learned=RESIDUAL, answers=None, train=None, **options):
    train, test, given = train or digits[0], digits[1], {"learned_epochs": 3, "share": SHARE}
    students = Students(learned=learned, **given | options)
    answers = test.y if answers is None else answers
    return learned_bound(answers, train, test, 10, students, DELTA)


def test_a_student_of_any_architecture_certifies_what_answers_like_it(digits, tmp_path):
    """Both parts anew from the weights that the folder of states holds, by the beta law."""
    train, test = digits
    answers = np.where(np.arange(len(test.y)) % 9 == 0, 0, test.y)
    bound, n = found(digits, answers=answers, states=tmp_path, learned_epochs=8)
    (path,) = tmp_path.glob("student-*.safetensors")
    net = Residual().eval().requires_grad_(False)
    held = load_file(path)
    net.load_state_dict({k.removeprefix("model/"): v for k, v in held.items() if "model/" in k})
    cut = round(SHARE * len(train.y))
    x, y = (part[cut:] for part in train.tensors)
    errors = int((net(x).argmax(1) != y).sum())
    apart = int((net(test.tensors[0]).argmax(1).numpy() != answers).sum())
    assert n == len(y)
    assert 0 < errors < n / 2
    parts = (beta.ppf(1 - DELTA / 2, k + 1, m - k) for k, m in ((errors, n), (apart, len(answers))))
    assert bound.value == pytest.approx(sum(parts), abs=1e-7)
    assert bound.delta == pytest.approx(DELTA)
    assert any("untrained" in assumption.name for assumption in bound.assumptions)


@pytest.mark.parametrize("learned", ["d16,d", RESIDUAL, "two-layer"])
def test_a_learned_prior_knows_the_first_examples_alone(digits, learned):
    """Labels of the others change what is counted, and not the student."""
    train = digits[0]
    cut = round(SHARE * len(train.y))
    bound, n = found(digits, learned)
    assert n == len(train.y) - cut
    changed = np.where(np.arange(len(train.y)) < cut, train.y, (train.y + 1) % 10)
    other, _ = found(digits, learned, train=Examples(train.x, changed))
    assert other.term("P(f != g)").log_value == bound.term("P(f != g)").log_value
    assert other.term("R(g)").value > bound.term("R(g)").value


def test_training_goes_on_where_it_stopped_and_never_from_another_share(digits, tmp_path):
    """A state that met more examples than the share must not be taken up: it would be certified
    by examples that it knows."""
    train, test = digits
    students = Students(learned=RESIDUAL, learned_epochs=50, share=SHARE, states=tmp_path)

    def stop(done, total):
        if done == 230 < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learned_bound(test.y, train, test, 10, students, DELTA, on_step=stop)
    (state,) = tmp_path.iterdir()
    steps = []
    bound, _ = learned_bound(
        test.y, train, test, 10, students, DELTA, on_step=lambda *at: steps.append(at)
    )
    assert steps[0] == (201, 250)
    assert list(tmp_path.iterdir()) == [state]
    assert bound.value == found(digits, learned_epochs=50)[0].value
    found(digits, share=0.6, states=tmp_path, learned_epochs=1)
    found(digits, seed=1, states=tmp_path, learned_epochs=1)
    found(digits, "d8,d", states=tmp_path, learned_epochs=1)
    assert len(list(tmp_path.iterdir())) == 4


def test_pictures_are_shifted_and_mirrored_if_asked_or_in_colour(digits):
    values = [found(digits, augment=augment)[0].value for augment in (None, False, True)]
    assert values[0] == values[1] != values[2]


def test_vectors_are_learned_as_vectors():
    generator = np.random.default_rng(0)
    parts = [
        Examples(generator.random((n, 1, 1, 6)).astype(np.float32), generator.integers(3, size=n))
        for n in (65, 30)
    ]
    students = Students(learned=f"{__name__}:Vectors", learned_epochs=2)
    assert learned_bound(parts[1].y, *parts, 3, students, DELTA)[1] == 33


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        (f"{__name__}:AT_HAND", "builds a network anew"),
        (f"{__name__}:Vectors", "does not fit the model"),
        (f"{__name__}:nothing", "cannot be built"),
        ("torch.nn:Identity", "scores of 10 classes"),
        ("resnet21", "resnet21"),
    ],
)
def test_what_is_no_untrained_network_is_refused(digits, learned, message):
    with pytest.raises(InputError, match=message):
        found(digits, learned)


@pytest.mark.parametrize(
    "given", [{"learned_epochs": 0}, {"learned_lr": 0.0}, {"learned_lr": float("nan")}]
)
def test_settings_of_students_are_checked(given):
    with pytest.raises(InputError, match=next(iter(given))):
        Students(**given)


def test_names_and_references_are_no_chains():
    assert all(map(is_reference, ("resnet20", "torchvision:resnet18", "mynet:build")))
    assert not any(map(is_reference, ("auto", "none", "c5-8,m4,c3-12,m2,d")))


@pytest.mark.parametrize(
    ("learned", "steps"), [("d16,d", 519 * 3), (RESIDUAL, 128 * 15), ("none", 0)]
)
def test_time_is_foretold_from_a_step_of_each_part(digits, monkeypatch, learned, steps):
    """With steps of one second for 32 examples, by hand."""

    def one_second(run):
        run()
        return 1.0

    monkeypatch.setattr(pipeline, "_seconds", one_second)
    train, test = digits
    answered = 2 * len(train.y) + (2 + 7) * len(test.y)
    for net, epochs in (("none", 0), ("d8,d", 4)):
        students = Students(net, epochs or None, learned, 3, share=SHARE)
        given = GivenNetwork(lambda x: x.flatten(1)[:, :10], None, 0)
        told = Told(given, train, test, 10, DELTA, {})
        foretold = pipeline.estimated_seconds(told, students, None, 7)
        searched = passes(1) * len(train.y) if epochs else 0
        assert 32 * foretold == pytest.approx(answered + epochs * len(train.y) + searched + steps)


@pytest.mark.parametrize("learned", ["d16,d", RESIDUAL])
def test_time_already_spent_is_not_foretold(digits, tmp_path, monkeypatch, learned):
    """What is kept of trainings leaves the answers, and the search behind training."""
    monkeypatch.setattr(pipeline, "_seconds", lambda run: (run(), 1.0)[1])
    train, test = digits
    students = Students("d8,d", 2, learned, 1, share=SHARE, states=tmp_path)
    told = Told(GivenNetwork(lambda x: x.flatten(1)[:, :10], None, 0), train, test, 10, DELTA, {})
    before = pipeline.estimated_seconds(told, students, None, 0)
    distilled(told.taught, train, 10, students, DELTA, None)
    told.through_learned(students)
    left = ((2 + passes(1)) * len(train.y) + 2 * len(test.y)) / 32
    assert pipeline.estimated_seconds(told, students, None, 0) == pytest.approx(left)
    assert before > left + 2 * len(train.y) / 32


def test_codes_are_foretold_by_some_of_their_weights(digits, monkeypatch):
    """Of 64 x 40 + 40 x 10 weights 16 rows of 64 are written in a second, and masks in another."""
    monkeypatch.setattr(pipeline, "_seconds", lambda run: (run(), 1.0)[1])
    train, test = digits
    fresh = QuantizedNet.fresh(CodedArchitecture.parse("d40,d", (1, 8, 8), 10), 3, 0)
    chain = FloatNetwork(fresh.architecture, list(fresh.weights), list(fresh.biases))
    told = Told(GivenNetwork(chain.logits, chain, 0), train, test, 10, DELTA, {})
    settings = QuantizationSettings(epochs=2, float_epochs=0, keep=1.0)
    students = Students("none", learned="none")
    shown = (2 * len(train.y) + 2 * len(test.y) + 2 * len(train.y)) / 32
    for draws, masks, drawn in ((0, 0.0, 0), (20, 0.5, 20 + 5 * 2)):
        foretold = pipeline.estimated_seconds(told, students, settings, 0, draws)
        assert foretold == pytest.approx(shown + 2 * (1 + masks) * 2960 / 1024 + drawn)
