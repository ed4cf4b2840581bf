"""How far a belief can be wrong: constants fitted on trained networks, leaving each out in turn.

`tools/forecast_constants.py` writes them.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_STORED: dict[str, Any] = json.loads(
    files("prunable.forecast.estimators").joinpath("model_error.json").read_text()
)
EVIDENCE = float(_STORED["evidence"])  # log odds that a changed decision is worth
RENEWED = float(_STORED["renewed"])  # that one is worth which new statistics alone change as well
# Standard errors by the model: a unit of leverage, and a changed decision.
SCALES: dict[str, tuple[float, float]] = _STORED["scales"]


class Propagation(NamedTuple):
    """Standard errors by propagation: whatever changes, and a changed decision."""

    least: float
    accuracy: float  # of the accuracy
    kept: float  # of the share of decisions that stay


PROPAGATED = Propagation(**_STORED["propagated"])
UNFITTED = 0.1  # of a change of R2, where no networks were at hand to fit it
# Of a change of log-perplexity by the laws of next tokens, and at most so many nats: set by looking
# at one language model (`tools/forecast_language_study.py`), where .13 was the most, not fitted.
LAWS, MOST_BY_LAWS = 0.5, 0.1
# Temperatures up to which a changed decision is worth all, and from which it is worth nothing.
FADES = (1.8, 2.6)
# Cohen's kappa of the two networks' decisions, below which changes are worth less, at 0 nothing.
INFORMED = 0.2


def evidence_at(temperature: float, evidence: float = EVIDENCE) -> float:
    """What a changed decision is worth, in log odds, of a network of a temperature.

    Networks far too sure of themselves see inputs unlike those they were trained on; so do their
    pruned copies, whose decisions then tell nothing more.
    """
    way = math.log(temperature / FADES[0]) / math.log(FADES[1] / FADES[0])
    return evidence * (1 - min(max(way, 0.0), 1.0))


def informed(before: NDArray[np.intp], after: NDArray[np.intp], classes: int) -> float:
    """How far a pruned network's decisions (n,) tell anything, from 0 to 1.

    One that decides as if by chance, or always alike, agrees with the dense network no more often
    than their shares of the classes make it (Cohen's kappa): it changes decisions without a reason.
    """
    shares = [np.bincount(decided, minlength=classes) / len(decided) for decided in (before, after)]
    chance = float(shares[0] @ shares[1])
    agreement = float(np.mean(before == after))
    if chance >= 1:
        return 1.0
    return min(max((agreement - chance) / (1 - chance) / INFORMED, 0.0), 1.0)


def model_error(estimator: str, leverage: float, changed: float) -> float:
    """The standard error of a forecast by the model of confidence."""
    by_leverage, by_change = SCALES[estimator]
    return math.hypot(by_leverage * leverage, by_change * changed)
