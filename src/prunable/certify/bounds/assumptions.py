"""Conditions of the bounds, whether they hold here, and by how much they are missed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from prunable.certify.bounds.logs import show

AssumptionStatus = Literal["holds", "violated", "unchecked"]


@dataclass(frozen=True)
class Assumption:
    """One condition of a bound, and whether it holds here.

    The evidence is the numbers looked at, or why it was not checked. The excess is by how much
    a violated one is missed: inf if by no finite amount, a logarithm if the unit is a factor.
    """

    name: str
    status: AssumptionStatus
    evidence: str
    excess: float | None = None
    unit: Literal["factor", "difference"] = "difference"

    @classmethod
    def decided(
        cls,
        holds: bool,
        name: str,
        evidence: str,
        excess: float | None = None,
        unit: Literal["factor", "difference"] = "difference",
    ) -> Assumption:
        """Make an assumption that was checked; the excess counts only if it is violated."""
        if holds:
            return cls(name, "holds", evidence)
        return cls(name, "violated", evidence, excess, unit)

    @property
    def by(self) -> str:
        """By how much the condition is missed, in words; empty unless violated."""
        if self.status != "violated" or self.excess is None:
            return ""
        if self.unit == "factor":
            return f"by a factor of {show(self.excess)}"
        return f"by {self.excess:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON; an infinite excess is null."""
        finite = self.excess is not None and math.isfinite(self.excess)
        return asdict(self) | {"excess": self.excess if finite else None, "by": self.by}


def at_most(
    name: str, log_value: float, log_limit: float, evidence: str = "", *, strict: bool = False
) -> Assumption:
    """Check that a magnitude is at most a limit, both given as natural logarithms.

    The evidence is what to say before the two numbers; if `strict`, equality violates.
    """
    excess = 0.0 if log_value == log_limit else log_value - log_limit
    return _compared(name, log_value, log_limit, excess, evidence, "<" if strict else "<=")


def at_least(
    name: str, log_value: float, log_limit: float, evidence: str = "", *, strict: bool = False
) -> Assumption:
    """Check that a magnitude is at least a limit; as `at_most`."""
    excess = 0.0 if log_value == log_limit else log_limit - log_value
    return _compared(name, log_value, log_limit, excess, evidence, ">" if strict else ">=")


def _compared(
    name: str, log_value: float, log_limit: float, excess: float, evidence: str, sign: str
) -> Assumption:
    before = f"{evidence}: " if evidence else ""
    said = f"{before}{show(log_value)}, needed {sign} {show(log_limit)}"
    holds = excess < 0 or (excess == 0 and sign.endswith("="))
    return Assumption.decided(holds, name, said, excess, "factor")


def positive_margin(gamma: float, evidence: str = "margin") -> Assumption:
    """Whether a margin can be divided by; the excess is the difference from zero."""
    said = f"{evidence}: {gamma:.4g}, needed > 0"
    return Assumption.decided(gamma > 0, "the margin is positive", said, abs(gamma))


_WORD = "the form of the network is the caller's word"
RELU = Assumption("ReLU network", "unchecked", _WORD)
RELU_WITHOUT_BIASES = Assumption("ReLU network without biases", "unchecked", _WORD)
