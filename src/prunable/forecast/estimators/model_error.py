"""How far a belief can be wrong: constants fitted on trained networks, leaving each out in turn.

`tools/forecast_constants.py` writes them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_STORED: dict[str, Any] = json.loads(
    files("prunable.forecast.estimators").joinpath("model_error.json").read_text()
)
EVIDENCE = float(_STORED["evidence"])  # log odds that a changed decision is worth
SCALES: dict[str, float] = _STORED["scales"]  # standard error by the model, a unit of leverage
UNFITTED = 0.1  # of a change of loss or perplexity, where no networks were at hand to fit it


def model_error(estimator: str, leverage: float) -> float:
    """The standard error of a forecast by the model of confidence."""
    return SCALES.get(estimator, UNFITTED) * leverage
