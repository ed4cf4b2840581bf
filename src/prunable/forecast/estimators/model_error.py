"""How far a belief can be wrong: constants fitted on trained networks, leaving each out in turn.

`tools/forecast_constants.py` writes them.
"""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

_STORED: dict[str, Any] = json.loads(
    files("prunable.forecast.estimators").joinpath("model_error.json").read_text()
)
EVIDENCE = float(_STORED["evidence"])  # log odds that a changed decision is worth
# Standard errors by the model: a unit of leverage, and a changed decision.
SCALES: dict[str, tuple[float, float]] = _STORED["scales"]
UNFITTED = 0.1  # of a change of loss or perplexity, where no networks were at hand to fit it
# Temperatures up to which a changed decision is worth all, and from which it is worth nothing.
FADES = (1.8, 2.6)


def evidence_at(temperature: float, evidence: float = EVIDENCE) -> float:
    """What a changed decision is worth, in log odds, of a network of a temperature.

    Networks far too sure of themselves see inputs unlike those they were trained on; so do their
    pruned copies, whose decisions then tell nothing more.
    """
    way = math.log(temperature / FADES[0]) / math.log(FADES[1] / FADES[0])
    return evidence * (1 - min(max(way, 0.0), 1.0))


def model_error(estimator: str, leverage: float, changed: float) -> float:
    """The standard error of a forecast by the model of confidence."""
    by_leverage, by_change = SCALES[estimator]
    return math.hypot(by_leverage * leverage, by_change * changed)
