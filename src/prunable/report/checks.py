"""Conditions that fail a build, and how they are told to those who wait for it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from prunable.errors import InputError
from prunable.report.tables import printable

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}
WRITTEN = re.compile(r"\s*([a-z_.]+)(?:@([0-9.]+))?\s*(>=|<=|>|<)\s*([0-9.eE+-]+)\s*")


@dataclass(frozen=True)
class Condition:
    """A number, at a relative error if it has one, and what it must not be."""

    text: str
    name: str
    eps: float | None
    sign: str
    bound: float

    @classmethod
    def of(cls, text: str, where: str) -> "Condition":
        """Read a condition such as "kept>0.8" or "kept@0.05 >= 0.9".

        Raises InputError if it is written otherwise.

        >>> Condition.of("kept@0.05 > .9", "measure").bound
        0.9
        """
        found = WRITTEN.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            name, eps, sign, bound = found.groups()
            return cls(text.strip(), name, float(eps) if eps else None, sign, float(bound))
        except ValueError as error:
            wanted = "NAME>NUMBER or NAME@EPS>NUMBER, with one of > >= < <="
            raise InputError.parameter("--fail-if", where, wanted, text) from error

    def holds(self, value: float) -> bool:
        """Whether a number meets the condition; NaN never does."""
        return COMPARISONS[self.sign](value, self.bound)


@dataclass(frozen=True)
class Case:
    """One thing that was checked: its name, and why it failed, if it did."""

    name: str
    said: str
    failed: bool


def junit(suite: str, cases: Sequence[Case]) -> str:
    """The cases as JUnit's XML, which build servers read."""
    failures = str(sum(case.failed for case in cases))
    root = ElementTree.Element(
        "testsuite", name=printable(suite), tests=str(len(cases)), failures=failures, errors="0"
    )
    for case in cases:
        found = ElementTree.SubElement(
            root, "testcase", name=printable(case.name), classname=printable(suite)
        )
        if case.failed:
            ElementTree.SubElement(found, "failure", message=printable(case.said))
        else:
            ElementTree.SubElement(found, "system-out").text = printable(case.said)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github(suite: str, cases: Sequence[Case]) -> list[str]:
    """The cases as annotations of GitHub Actions, a line each."""
    return [
        f"::{'error' if case.failed else 'notice'} title={_escaped(suite, ':,')}::"
        f"{_escaped(f'{case.name}: {case.said}')}"
        for case in cases
    ]


def _escaped(text: str, more: str = "") -> str:
    # of other control characters a terminal would be the victim
    shown = printable(text, keep="\r\n")
    return "".join(f"%{ord(c):02X}" if c in f"%\r\n{more}" else c for c in shown)
