"""Compression and disagreement: a network is certified through a small one that answers alike.

A network f errs only where a student g errs or the two differ, so R(f) <= R(g) + P(f != g). The
second part needs inputs without labels that f and g never met, and a binomial tail. The first is
Occam's bound of the student's code file: its prior is fixed by the code before any data, so that
nothing about the way the student was found is paid for, its teacher's labels included, though the
teacher was trained on the same examples. With a prior learned on a part of the examples, see
`prunable.certify.learned`.

Source: Suzuki, Abe and Nishimura (2020); Bazinet, Zantedeschi and Germain (2026).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunable.certify.architecture import MOST_EDGED, NAMES, CodedArchitecture
from prunable.certify.certificate import Answers
from prunable.certify.code_file import CodedNetwork
from prunable.certify.examples import Examples
from prunable.certify.polishing import polish
from prunable.certify.quantization import OnEpoch, QuantizationSettings, QuantizedNet, fine_tune
from prunable.certify.study import FEWER_EPOCHS, PICTURES, SMOKE
from prunable.errors import require

Plan = tuple[CodedArchitecture, QuantizationSettings]
SMALL = 16  # pixels of a side, below which a dense student is taken
TRAINED_FRONT = "c5-8,m4,c3-12,m2,d"  # of pictures with more channels than `e5` takes


@dataclass(frozen=True)
class Students:
    """Which students to train: chains as in `prunable.certify.architecture`, "auto", or "none".

    The `learned` one may be any network, by a reference as `net` is. It learns from a `share` of
    the training examples, in (0, 1); `augment` says whether their pictures are shifted and
    mirrored, by default those in colour. What is trained keeps its state in the folder `states`, if
    there is one, and goes on from there.
    """

    net: str = "auto"
    epochs: int | None = None  # of the study if None
    learned: str = "auto"
    learned_epochs: int | None = None
    learned_lr: float | None = None
    share: float = 0.5
    augment: bool | None = None
    seed: int = 0
    states: Path | None = None

    def __post_init__(self) -> None:
        require(0 < self.share < 1, "share", "Students", "in (0, 1)", self.share)
        lr = self.learned_lr
        require(lr is None or 0 < lr < math.inf, "learned_lr", "Students", "positive", lr)
        for name in ("epochs", "learned_epochs"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "Students", "at least 1", value)


def student_plan(train: Examples, classes: int, students: Students) -> Plan:
    """The chain of the data-free student, and how it is trained."""
    given = _usual(*train.x.shape[1:])
    usual = given.pop("net")
    net = usual if students.net == "auto" else students.net
    if students.epochs is not None:
        given |= {"epochs": students.epochs, "float_epochs": min(4, students.epochs // 2)}
    architecture = CodedArchitecture.parse(net, train.x.shape[1:], classes)
    return architecture, QuantizationSettings.create(**{"keep": 0.8, **given}, seed=students.seed)


def _usual(channels: int, height: int, width: int) -> dict[str, Any]:
    """Chain and settings for pictures of a size: those of the study's data that are most like."""
    if min(height, width) < SMALL:
        return dict(SMOKE)
    name = "fashion-mnist" if channels == 1 else "cifar10"
    given = PICTURES[name] | {"epochs": FEWER_EPOCHS[name]}
    if channels == 1:
        given |= {"net": NAMES["edges"]}
    return given if channels <= MOST_EDGED else given | {"net": TRAINED_FRONT}


def distilled(
    answers: Answers,
    train: Examples,
    classes: int,
    students: Students,
    delta: float,
    on_epoch: OnEpoch | None = None,
) -> CodedNetwork:
    """Train a student, quantised and short to write, on a network's answers to the examples.

    Then its integers are searched for a lower bound on how often it answers otherwise.
    """
    architecture, settings = student_plan(train, classes, students)
    asked = Examples(train.x, answers)
    state = chain_state(students, asked, (architecture, settings))
    student = QuantizedNet.fresh(architecture, settings.levels, settings.seed)
    fine_tune(student, *asked.tensors, settings, checkpoint=state, on_epoch=on_epoch)
    return polish(student.coded(), *asked.tensors, delta)


def chain_state(students: Students, examples: Examples, plan: Plan) -> Path | None:
    """Where the training of a chain on examples keeps its state."""
    architecture, settings = plan
    return state_file(students, examples, architecture.text, settings.model_dump(mode="json"))


def state_file(students: Students, examples: Examples, *what: Any) -> Path | None:
    """Where training keeps its state, by all that it depends on; None where there is no folder."""
    if students.states is None:
        return None
    identity = json.dumps([examples.sha256, *what], sort_keys=True, default=str)
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    return Path(students.states) / f"student-{name}.safetensors"
