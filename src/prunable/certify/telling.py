"""The statements about one network: what each of them is found from."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from prunable.certify.architecture import count_errors
from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import DENSE, BoundResult
from prunable.certify.bounds.held_out import held_out_bound
from prunable.certify.bounds.occam import INDEPENDENT, occam_bound
from prunable.certify.certificate import Answers, Certificate, certify_network
from prunable.certify.examples import Examples
from prunable.certify.given import GivenNetwork
from prunable.certify.learned import OnSteps, learned_bound
from prunable.certify.quantization import OnEpoch, OnPhase
from prunable.certify.statements import Kind, Prior, Statement, above
from prunable.certify.student import Students, distilled

_FIXED = Assumption(
    "the architecture and the types of its weights were fixed before the data", "unchecked", "told"
)


@dataclass(frozen=True, eq=False)
class Told:
    """A network and its examples, of which statements are made, each at `delta` on its own."""

    given: GivenNetwork
    train: Examples
    test: Examples | None
    classes: int
    delta: float
    notes: dict[str, Any]
    on_epoch: OnPhase | None = None
    on_step: OnSteps | None = None

    @cached_property
    def answers(self) -> Answers | None:
        """Of the network, to the test inputs."""
        return None if self.test is None else self.given.answers(self.test)

    @cached_property
    def taught(self) -> Answers:
        """Of the network, to the training inputs."""
        return self.given.answers(self.train)

    def epochs_of(self, phase: str) -> OnEpoch | None:
        """What is told of the epochs of a training, which is named."""
        return None if self.on_epoch is None else partial(self.on_epoch, phase)

    def held_out(self) -> Statement | None:
        """By examples that the network never met: the tightest, and nothing about pruning."""
        if self.test is None:
            return None
        errors, n = count_errors(self.given.logits, *self.test.tensors), len(self.test.y)
        bound = replace(held_out_bound(errors, n, self.delta), about=DENSE)
        how = f"It erred on {errors:,} of them, which must have served no choice."
        return self._said("held-out examples", "none", bound, n, 0, how)

    def stored(self) -> BoundResult:
        """By the bits of all weights as they are stored, where no code file names the network."""
        errors, n = count_errors(self.given.logits, *self.train.tensors), len(self.train.y)
        bound = occam_bound(errors, n, self.given.bits, self.delta, about=DENSE)
        return replace(bound, name="Occam, weights as stored", assumptions=(INDEPENDENT, _FIXED))

    def compression(self, bound: BoundResult, how: str) -> Statement:
        """By the length of a code of the network, or of what compression made of it."""
        k = round(bound.term("k").value)
        how = f"{how} It erred on {k:,} of the training examples."
        return self._said("compression", "data-free", bound, len(self.train.y), 0, how)

    def through_student(self, students: Students) -> Certificate | None:
        """Train a student on the network's answers and certify both, each part at half of delta."""
        if students.net == "none":
            return None
        delta = self.delta / 2
        on_epoch = self.epochs_of("student")
        student = distilled(self.taught, self.train, self.classes, students, delta, on_epoch)
        notes = {**self.notes, "student_of": self.notes["model"]}
        return certify_network(student, self.train, self.test, delta, notes, self.answers)

    def by_student(
        self, student: Certificate | None, bounds: list[BoundResult]
    ) -> Statement | None:
        """By the certificate of a student, or else the network's own compression."""
        if self.test is None:
            return None
        names = [bound for bound in bounds if bound.name == "code length and disagreement"]
        if student is not None:
            bound, who = student.bounds[-1], "A student"
        elif names:
            bound, who = names[0], "The network made of it"
        else:
            return None
        bits = student.statement["bits"] if student is not None else 0
        size = f" of {bits:,} bits" if bits else ""
        return self._apart(bound, "data-free", len(self.train.y), f"{who}{size}")

    def through_learned(self, students: Students) -> Statement | None:
        """By a student trained on the first part of the examples, certified by the rest."""
        if students.learned == "none" or self.test is None or self.answers is None:
            return None
        bound, n = learned_bound(
            self.answers,
            self.train,
            self.test,
            self.classes,
            students,
            self.delta,
            self.epochs_of("learned prior"),
            self.on_step,
        )
        who = f"A student of the first {len(self.train.y) - n:,} training examples"
        return self._apart(bound, "learned", n, who)

    def _apart(self, bound: BoundResult, prior: Prior, labelled: int, who: str) -> Statement:
        assert self.test is not None
        first, second = bound.term("R(g)").value, bound.term("P(f != g)").value
        apart, m = round(bound.term("k").value), len(self.test.y)
        how = (
            f"{who} errs with probability at most {above(first)}; the two answer differently with "
            f"probability at most {above(min(second, 1.0))}, as for {apart:,} of {m:,} inputs. "
            "Each part has half of delta."
        )
        kind: Kind = "compression and disagreement"
        bound = replace(bound, about=DENSE)
        return self._said(kind, prior, bound, labelled, m, how)

    def _said(
        self, kind: Kind, prior: Prior, bound: BoundResult, labelled: int, unlabelled: int, how: str
    ) -> Statement:
        about = bound.about or DENSE
        return Statement(kind, prior, about, bound, labelled, unlabelled, 1 - 1 / self.classes, how)
