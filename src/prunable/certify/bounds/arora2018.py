"""Noise stability: Arora, Ge, Neyshabur and Zhang (2018), theorem 4.1.

A network whose layers pass on typical signals better than noise can be compressed to few
numbers; how much better is measured on the training set.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from prunable.certify.bounds.assumptions import Assumption, AssumptionStatus
from prunable.certify.bounds.base import PRODUCT, BoundResult, Term
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import FloatArray, NetworkFacts
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.margin_bounds import GridMargin, MarginBound, summed
from prunable.errors import require

# Of the number of parameters in the proof of theorem 4.1, as remembered; a parameter below.
PROOF_CONSTANT = 72.0


@dataclass(frozen=True)
class Stability:
    """How a network treats noise, on so many training examples.

    Interlayer cushions mu_{l->} are the least of ||J x^l|| / (||J||_F ||x^l||) over l <= j <= L
    and examples, J the Jacobian from the output of layer l to that of layer j, but at least
    1 / sqrt(outputs of l).
    """

    cushions: tuple[float, ...]  # mu_l = min ||A_l phi(x^(l-1))|| / (||A_l||_F ||phi(x^(l-1))||)
    interlayer: tuple[float, ...]
    activation: float  # c = max ||x^l|| / ||phi(x^l)||
    output_norm: float  # max ||f(x)||
    examples: int


def measure_stability(matrices: list[FloatArray], inputs: FloatArray) -> Stability:
    """Measure a ReLU network without biases on (m, features) training examples.

    Matrices are of shape (outputs, inputs). All examples make a bound, fewer an estimate.
    """
    features = matrices[0].shape[1]
    fits = inputs.ndim == 2 and len(inputs) > 0 and inputs.shape[1] == features
    expected, found = f"vectors of {features} features", f"shape {inputs.shape}"
    require(fits, "inputs", "measure_stability", expected, found)
    depth = len(matrices)
    after = inputs.astype(np.float64)
    cushions, activation = [], 1.0
    outputs: list[FloatArray] = []
    for i, matrix in enumerate(matrices):
        out = after @ matrix.T
        cushions.append(float(_ratios(out, after, float(np.linalg.norm(matrix))).min()))
        outputs.append(out)
        if i + 1 < depth:
            after = np.maximum(out, 0.0)
            activation = max(activation, float(_ratios(out, after).max()))
    interlayer = [1.0] * depth
    for example in range(len(inputs)):
        for i, value in enumerate(_jacobians(matrices, [out[example] for out in outputs])):
            interlayer[i] = min(interlayer[i], value)
    largest = float(np.linalg.norm(outputs[-1], axis=1).max())
    return Stability(tuple(cushions), tuple(interlayer), activation, largest, len(inputs))


class NoiseStability(MarginBound):
    """c^2 L^2 max ||f(x)||^2 sum 1 / (mu_l mu_{l->})^2 over gamma^2, and theorem 4.1.

    The bound is on the risk of the compressed network of
    constant c^2 L^2 ln(n L h / delta) / (eps mu mu)^2 parameters with
    eps^2 = gamma^2 / (2 max ||f||^2), each of so many bits.
    """

    name = "Arora 2018"
    source = "Arora, Ge, Neyshabur, Zhang (2018)"
    capacity_statement = "theorem 4.1"

    def __init__(
        self, stability: Stability, constant: float = PROOF_CONSTANT, bits: float = 32.0
    ) -> None:
        self.stability, self.constant, self.bits = stability, constant, bits

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        del variant
        known = self.stability
        logs = [
            -2 * (safe_log(mu) + safe_log(to))
            for mu, to in zip(known.cushions, known.interlayer, strict=True)
        ]
        return (
            Term.of("c^2 L^2", (known.activation * facts.depth) ** 2, "activations and depth"),
            Term("max||f(x)||^2", "logits", 2 * safe_log(known.output_norm)),
            summed("sum 1/(mu_l mu_{l->})^2", logs, "noise that layers let through"),
        )

    def capacity_conditions(self, facts: NetworkFacts) -> tuple[Assumption, ...]:
        seen = self.stability.examples
        name = "noise stability was measured on every training example"
        status: AssumptionStatus = "holds" if seen >= facts.n else "unchecked"
        return (Assumption(name, status, f"{seen} of {facts.n} examples"),)

    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        """Nats of the compressed network, of which `bound` takes the root."""
        projections = math.log(facts.n * facts.depth * facts.width / delta)
        nats = Term.made(
            "q ln(r)",
            PRODUCT,
            "nats of the compressed network",
            Term.of("2 constant", 2 * self.constant, "constant of the proof"),
            Term.of("ln(n L h/delta)", projections, "projections"),
            *self.norms(facts, "paper"),
            margin.inverse_square(),
            Term.of("ln(r)", self.bits * math.log(2), f"{self.bits:g} bits a parameter"),
            equation="theorem 4.1",
        )
        return (nats,)

    def bound(
        self, facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
    ) -> BoundResult:
        check_delta(delta, self.name)
        margin = GridMargin.of(facts, gamma)
        (nats,) = self.price(facts, margin, delta)
        remembered = Assumption(
            "the constant of the proof is at most its parameter", "unchecked", f"{self.constant:g}"
        )
        found = counting_bound(
            facts.margins,
            nats,
            gamma=max(margin.gamma, 0.0),
            delta=math.exp(math.log(delta) + margin.log_share),
            name=self.name,
            statement=f"theorem 2.1 with theorem 4.1 of {self.source}",
            assumptions=(*self.capacity_conditions(facts), remembered, *facts.form()),
        )
        # all margins of the grid together fail with probability delta
        return replace(found, delta=delta)


def _ratios(above: FloatArray, below: FloatArray, scale: float = 1.0) -> FloatArray:
    """Ratios of the rows' norms, 1 where both are zero."""
    over, under = np.linalg.norm(above, axis=1), scale * np.linalg.norm(below, axis=1)
    empty = np.where(over > 0, math.inf, 1.0)
    return np.divide(over, under, out=empty, where=under > 0)


def _jacobians(matrices: list[FloatArray], outputs: list[FloatArray]) -> list[float]:
    """Interlayer cushions of one example, from every layer on."""
    depth, found = len(matrices), []
    for i in range(depth):
        best = 1 / math.sqrt(matrices[i].shape[0])
        jacobian: FloatArray | None = None
        norm = float(np.linalg.norm(outputs[i]))
        for j in range(i + 1, depth):
            step = matrices[j] * (outputs[j - 1] > 0)
            jacobian = step if jacobian is None else step @ jacobian
            size = float(np.linalg.norm(jacobian)) * norm
            if size > 0:
                best = min(best, float(np.linalg.norm(outputs[j])) / size)
        found.append(best)
    return found
