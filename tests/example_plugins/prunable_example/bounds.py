"""A bound: networks of so many weights of 16 bits are finitely many."""

import math

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import NetworkFacts


def half_precision(facts: NetworkFacts, *, delta: float) -> BoundResult:
    """Bound the risk of the dense network if its weights and biases are 16-bit floats."""
    numbers = facts.weights + facts.biases
    stored = Assumption("all numbers are 16-bit floats", "unchecked", f"{numbers} numbers")
    return counting_bound(
        facts.margins,
        16 * math.log(2) * numbers,
        delta=delta,
        name="half precision",
        statement="theorem D.1",
        assumptions=(stored,),
    )
