"""Temperatures and offsets of single classes, from the shares of decisions instead of labels.

With labels such parameters are fitted by likelihood (vector scaling, Guo et al. 2017). Without
them the equations are: the mean belief in the decisions is the accuracy, and each class is believed
as often as it is decided.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from prunable.errors import require
from prunable.forecast.estimators.belief import Belief, Decisions, tempered
from prunable.numerics.arrays import FloatArray

INPUTS_A_CLASS = 20
STRENGTH = 0.005  # of the pull of each parameter towards the one temperature


def class_wise(logits: FloatArray, decisions: Decisions, accuracy: float) -> Belief:
    """A temperature for each decided class: the logits of inputs so decided are divided by it."""
    classes = _enough(logits)
    member = np.eye(classes)[decisions[:, 0]].T  # (c, n)
    scaled = tempered(logits, decisions, accuracy)
    base = -scaled.scores[None] * member[:, :, None]
    return _fitted(scaled, decisions, accuracy, base, multiplies=True)


def vector(logits: FloatArray, decisions: Decisions, accuracy: float) -> Belief:
    """One temperature, and an offset of each class's score."""
    classes = _enough(logits)
    scaled = tempered(logits, decisions, accuracy)
    offsets = np.broadcast_to(np.eye(classes)[:, None, :], (classes, *logits.shape))
    base = np.concatenate([-scaled.scores[None], offsets[1:]])
    return _fitted(scaled, decisions, accuracy, base, multiplies=False)


def _enough(logits: FloatArray) -> int:
    n, classes = logits.shape
    require(
        n >= INPUTS_A_CLASS * classes,
        "inputs",
        "temperatures of classes",
        f"at least {INPUTS_A_CLASS} for each of {classes} classes",
        n,
    )
    return classes


def _fitted(
    scaled: Belief, decisions: Decisions, accuracy: float, base: FloatArray, *, multiplies: bool
) -> Belief:
    """Solve the equations from the one temperature on, each parameter pulled towards it."""
    classes = scaled.scores.shape[1]
    decided = np.eye(classes)[decisions[:, 0]]

    def at(parameters: FloatArray) -> Belief:
        # exp(-x) scales a temperature's scores, whose direction is then scaled as well.
        factors = np.exp(-parameters)
        logs = np.arange(len(parameters)) < (classes if multiplies else 1)
        moves = np.where(logs, 1 - factors, parameters)
        directions = base * np.where(logs, factors, 1.0)[:, None, None]
        return Belief(
            scaled.scores + np.einsum("q,qnc->nc", moves, base),
            directions,
            scaled.equations,
            scaled.slopes,
            scaled.by_accuracy,
            scaled.temperature * float(np.exp(parameters[logs].mean())),
        )

    def equations(belief: Belief) -> FloatArray:
        shares = belief.law - decided
        return np.column_stack([belief.of(decisions) - accuracy, shares[:, 1:]])

    def residuals(parameters: FloatArray) -> FloatArray:
        return np.append(equations(at(parameters)).mean(0), STRENGTH * parameters)

    found = least_squares(residuals, np.zeros(len(base)), method="lm")
    belief = at(found.x)
    # The minimum of |r|^2 solves J'r = 0: each input's part of it, and its slope by Gauss-Newton.
    jacobian = np.asarray(found.jac)
    parts = equations(belief)
    top = jacobian[: parts.shape[1]]
    return Belief(
        belief.scores,
        belief.directions,
        (parts - parts.mean(0)) @ top,
        jacobian.T @ jacobian,
        np.linalg.lstsq(jacobian.T @ jacobian, top[0], rcond=1e-10)[0],
        belief.temperature,
    )
