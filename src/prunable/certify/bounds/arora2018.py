"""Noise stability: Arora, Ge, Neyshabur and Zhang (2018), theorem 4.1.

A network whose layers pass on typical signals better than noise can be compressed to few
numbers; how much better is measured on the training set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prunable.certify.bounds.base import (
    PRODUCT,
    Assumption,
    BoundResult,
    Term,
    check_delta,
    safe_log,
)
from prunable.certify.bounds.counting import counting_bound
from prunable.certify.bounds.facts import FloatArray, NetworkFacts
from prunable.certify.bounds.margin_bounds import capacity, grid_margin, sum_of
from prunable.errors import InputError

SOURCE = "Arora, Ge, Neyshabur, Zhang (2018)"
# Of the number of parameters in the proof of theorem 4.1, as remembered; a parameter below.
PROOF_CONSTANT = 72.0


@dataclass(frozen=True)
class Stability:
    """How a network treats noise, on training examples.

    Attributes
    ----------
    cushions : tuple of float
        mu_l = min ||A_l phi(x^(l-1))|| / (||A_l||_F ||phi(x^(l-1))||).
    interlayer : tuple of float
        mu_{l->} = min over l <= j <= L of min ||J x^l|| / (||J||_F ||x^l||), J the Jacobian
        from the output of layer l to that of layer j, but at least 1 / sqrt(outputs of l).
    activation : float
        c = max ||x^l|| / ||phi(x^l)||.
    output_norm : float
        max ||f(x)||.
    examples : int
        Training examples looked at.
    """

    cushions: tuple[float, ...]
    interlayer: tuple[float, ...]
    activation: float
    output_norm: float
    examples: int


def measure_stability(matrices: list[FloatArray], inputs: FloatArray) -> Stability:
    """Measure a ReLU network without biases on examples.

    Parameters
    ----------
    matrices : list of ndarray, shape (outputs, inputs)
        In the order of application.
    inputs : ndarray, shape (m, features)
        Training examples; all of them make a bound, fewer an estimate.

    Returns
    -------
    Stability

    Raises
    ------
    InputError
        If there are no examples or shapes do not fit.
    """
    if inputs.ndim != 2 or not len(inputs) or inputs.shape[1] != matrices[0].shape[1]:
        raise InputError.parameter(
            "inputs",
            "measure_stability",
            f"vectors of {matrices[0].shape[1]} features",
            f"shape {inputs.shape}",
        )
    depth = len(matrices)
    before, after = [], inputs.astype(np.float64)
    cushions, activation = [], 1.0
    outputs: list[FloatArray] = []
    for i, matrix in enumerate(matrices):
        before.append(after)
        out = after @ matrix.T
        cushions.append(_smallest(out, after, float(np.linalg.norm(matrix))))
        outputs.append(out)
        if i + 1 < depth:
            after = np.maximum(out, 0.0)
            activation = max(activation, _largest(out, after))
    interlayer = [1.0] * depth
    for example in range(len(inputs)):
        for i, value in enumerate(_jacobians(matrices, [out[example] for out in outputs])):
            interlayer[i] = min(interlayer[i], value)
    return Stability(
        tuple(cushions),
        tuple(interlayer),
        activation,
        float(np.linalg.norm(outputs[-1], axis=1).max()),
        len(inputs),
    )


def stability_capacity(
    facts: NetworkFacts, stability: Stability, gamma: float | None = None
) -> BoundResult:
    """Evaluate c^2 L^2 max ||f(x)||^2 sum 1 / (mu_l mu_{l->})^2, over gamma^2.

    Parameters
    ----------
    facts : NetworkFacts
    stability : Stability
    gamma : float, optional
        Margin; the smallest of the training set if None.

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    return capacity(
        "Arora 2018",
        facts,
        _factors(facts, stability),
        f"{SOURCE}, theorem 4.1",
        gamma=gamma,
        assumptions=(_sampled(facts, stability),),
    )


def stability_bound(
    facts: NetworkFacts,
    stability: Stability,
    *,
    gamma: float | None = None,
    delta: float = 0.05,
    constant: float = PROOF_CONSTANT,
    bits: float = 32.0,
) -> BoundResult:
    """Bound the risk of the compressed network: theorem 4.1.

    Parameters
    ----------
    facts : NetworkFacts
    stability : Stability
    gamma : float, optional
        Margin; `default_tau` of the training margins if None, moved down to a grid.
    delta : float
        Failure probability.
    constant : float
        Of the number of parameters, constant c^2 L^2 ln(n L h / delta) / (eps mu mu)^2 with
        eps^2 = gamma^2 / (2 max ||f||^2).
    bits : float
        Of one parameter.

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    check_delta(delta, "stability_bound")
    margin, share = grid_margin(facts, gamma)
    n = facts.n
    log_inverse = -2 * math.log(margin) if margin > 0 else math.inf
    log_count = Term.made(
        "q ln(r)",
        PRODUCT,
        (
            Term.of("2 constant", 2 * constant, "constant of the proof"),
            Term.of(
                "ln(n L h/delta)", math.log(n * facts.depth * facts.width / delta), "projections"
            ),
            *_factors(facts, stability),
            Term("1/gamma^2", "margin, on the grid", log_inverse),
            Term.of("ln(r)", bits * math.log(2), f"{bits:g} bits a parameter"),
        ),
        "nats of the compressed network",
        "theorem 4.1",
    )
    remembered = Assumption(
        "the constant of the proof is at most its parameter", "unchecked", f"{constant:g}"
    )
    usable = margin if margin > 0 else 0.0
    found = counting_bound(
        facts.margins,
        log_count,
        gamma=usable,
        delta=math.exp(math.log(delta) + share),
        name="Arora 2018",
        statement=f"theorem 2.1 with theorem 4.1 of {SOURCE}",
        assumptions=(
            _sampled(facts, stability),
            remembered,
            facts.dense_layers(),
            facts.no_biases(),
        ),
    )
    # all margins of the grid together fail with probability delta
    return replace(found, delta=delta)


def _factors(facts: NetworkFacts, stability: Stability) -> tuple[Term, ...]:
    logs = [
        -2 * (safe_log(mu) + safe_log(to))
        for mu, to in zip(stability.cushions, stability.interlayer, strict=True)
    ]
    return (
        Term.of("c^2 L^2", (stability.activation * facts.depth) ** 2, "activations and depth"),
        Term("max||f(x)||^2", "logits", 2 * safe_log(stability.output_norm)),
        sum_of("sum 1/(mu_l mu_{l->})^2", logs, "noise that layers let through"),
    )


def _sampled(facts: NetworkFacts, stability: Stability) -> Assumption:
    name = "noise stability was measured on every training example"
    said = f"{stability.examples} of {facts.n} examples"
    return Assumption(name, "holds" if stability.examples >= facts.n else "unchecked", said)


def _smallest(out: FloatArray, before: FloatArray, norm: float) -> float:
    below = norm * np.linalg.norm(before, axis=1)
    above = np.linalg.norm(out, axis=1)
    return float(np.min(np.divide(above, below, out=np.ones_like(above), where=below > 0)))


def _largest(out: FloatArray, after: FloatArray) -> float:
    above, below = np.linalg.norm(out, axis=1), np.linalg.norm(after, axis=1)
    if (above[below == 0] > 0).any():
        return math.inf
    return float(np.max(np.divide(above, below, out=np.ones_like(above), where=below > 0)))


def _jacobians(matrices: list[FloatArray], outputs: list[NDArray[np.float64]]) -> list[float]:
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
