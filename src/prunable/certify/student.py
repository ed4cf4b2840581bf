"""Compression and disagreement: a network is certified through a small one that answers alike.

A network f errs only where a student g errs or the two differ, so R(f) <= R(g) + P(f != g). The
second part needs inputs without labels that f and g never met, and a binomial tail. The first is
Occam's bound of the student's code file: its prior is fixed by the code before any data, so that
nothing about the way the student was found is paid for, its teacher's labels included, though the
teacher was trained on the same examples. With a prior learned on a part of the examples the
student is trained on that part and its own labels alone (the teacher's would tell of the others),
is the prior's one network, and is certified by the rest at no bits.

Source: Suzuki, Abe and Nishimura (2020); Bazinet, Zantedeschi and Germain (2026).
"""

from dataclasses import dataclass, replace

from prunable.certify.architecture import CodedArchitecture, FloatNetwork, count_errors
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import dense_through_compression
from prunable.certify.certificate import Answers
from prunable.certify.examples import Examples
from prunable.certify.quantization import OnEpoch, QuantizationSettings, QuantizedNet, fine_tune
from prunable.certify.study import PICTURES, SMOKE
from prunable.errors import InputError, require

_SMALL = 16  # pixels of a side, below which a dense student is taken
_LEARNED = {"epochs": 6, "lr": 2e-3}


@dataclass(frozen=True)
class Students:
    """Which students to train: chains as in `prunable.certify.architecture`, "auto", or "none".

    `share` of the training examples is for the learned prior, in (0, 1).
    """

    net: str = "auto"
    epochs: int | None = None  # of the study if None
    learned: str = "auto"
    learned_epochs: int | None = None
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 < self.share < 1, "share", "Students", "in (0, 1)", self.share)


def distilled(
    answers: Answers, train: Examples, classes: int, students: Students, on_epoch: OnEpoch | None
) -> QuantizedNet:
    """Train a student, quantised and short to write, on a network's answers to the examples."""
    small = min(train.x.shape[2:]) < _SMALL
    given = dict(SMOKE if small else PICTURES)
    net = given.pop("net") if students.net == "auto" else students.net
    given.pop("net", None)
    if students.epochs is not None:
        given |= {"epochs": students.epochs, "float_epochs": min(4, students.epochs // 2)}
    architecture = CodedArchitecture.parse(net, train.x.shape[1:], classes)
    settings = QuantizationSettings.create(**{"keep": 0.8, **given}, seed=students.seed)
    student = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    fine_tune(
        student,
        train.tensors[0],
        Examples(train.x, answers).tensors[1],
        settings,
        on_epoch=on_epoch,
    )
    return student


def learned_bound(
    answers: Answers,
    train: Examples,
    test: Examples,
    classes: int,
    students: Students,
    delta: float,
    on_epoch: OnEpoch | None = None,
) -> tuple[BoundResult, int]:
    """Bound a network through a student trained on the first share of the examples alone.

    `answers` are the network's to the test inputs. The second value is the number of labelled
    examples that the student never met, which certify it. Each part has half of delta.

    Raises InputError if a part is empty.
    """
    cut = round(students.share * len(train.y))
    if not 0 < cut < len(train.y):
        raise InputError.parameter(
            "share", "certify", "leaves examples on both sides", students.share
        )
    first = Examples(train.x[:cut], train.y[:cut])
    rest = Examples(train.x[cut:], train.y[cut:])
    student = _trained(first, classes, students, on_epoch)
    errors = count_errors(student.logits, *rest.tensors)
    of_student = replace(
        held_out_bound(errors, len(rest.y), delta / 2), about=f"student of {cut:,} examples"
    )
    apart = count_errors(student.logits, *Examples(test.x, answers).tensors)
    return dense_through_compression(of_student, apart, len(test.y), delta / 2), len(rest.y)


def _trained(
    examples: Examples, classes: int, students: Students, on_epoch: OnEpoch | None
) -> FloatNetwork:
    """A network of true labels, neither pruned nor rounded: its bits cost nothing."""
    small = min(examples.x.shape[2:]) < _SMALL
    text = students.learned
    if text == "auto":
        text = "d64,d" if small else "c5-20,m2,c5-50,m2,d"
    epochs = students.learned_epochs or (40 if small else _LEARNED["epochs"])
    settings = QuantizationSettings.create(
        epochs=epochs,
        float_epochs=epochs,
        keep=1.0,
        rate=0.0,
        lr=_LEARNED["lr"],
        seed=students.seed,
    )
    architecture = CodedArchitecture.parse(text, examples.x.shape[1:], classes)
    net = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    fine_tune(net, *examples.tensors, settings, on_epoch=on_epoch)
    weights = [w.detach() for w in net.weights]
    return FloatNetwork(architecture, weights, [b.detach() for b in net.biases])
