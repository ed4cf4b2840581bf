"""What is asked of a prediction, and what comes back: one setting, or a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.predict.linear.law import Law
from prunable.predict.linear.methods import Method, Risk
from prunable.predict.linear.pruning_risk import DRAWS

FloatArray = NDArray[np.float64]

DENSE, RETRAINED, SAME_DATA = "dense", "retrained", "retrained_same_data"


def after(name: str, method: Method) -> str:
    """Name of a retrained risk: plain after magnitude pruning, else with the method's name."""
    return name if method == Method.MAGNITUDE else f"{name}_{method.value}"


@dataclass(frozen=True)
class Wanted:
    """Which risks to predict, and how.

    Attributes
    ----------
    methods : tuple of Method
        Pruning.
    retrain_by : tuple of Method
        After which to retrain on fresh data.
    same_data_by : tuple of Method
        After which to retrain on the same data.
    finite_n : bool
        Whether to use exact expectations at this n where they are known.
    draws : int
        For what has no closed form; a quarter of them where each is dear, retraining more
        correlated features than samples.
    """

    methods: tuple[Method, ...] = tuple(Method)
    retrain_by: tuple[Method, ...] = ()
    same_data_by: tuple[Method, ...] = ()
    finite_n: bool = False
    draws: int = DRAWS


@dataclass(frozen=True, eq=False)
class Risks:
    """Predicted risks at one setting, including sigma^2.

    Attributes
    ----------
    law : Law
        Of the dense solution.
    risk : dict of str to Risk
        "dense", the methods by name, "retrained" after magnitude pruning, "retrained_hessian"
        and so on after others, "retrained_same_data" and so on.
    """

    law: Law
    risk: dict[str, Risk]


@dataclass(frozen=True, eq=False)
class Curve:
    """Risks along a sweep.

    Attributes
    ----------
    variable : str
        "width", "sparsity", "sigma", "samples" or a name of the caller's.
    points : ndarray
        Shape (m,).
    risk, stderr : dict of str to ndarray
        One array a model, shape (m,); NaN where a model is not predicted.
    regimes : tuple of str
        Of the dense solution at each point.
    """

    variable: str
    points: FloatArray
    risk: dict[str, FloatArray]
    stderr: dict[str, FloatArray]
    regimes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values; what is infinite or missing is null."""

        def plain(values: FloatArray) -> list[float | None]:
            return [float(x) if np.isfinite(x) else None for x in values]

        return {
            "variable": self.variable,
            "points": plain(self.points),
            "risk": {name: plain(values) for name, values in self.risk.items()},
            "standard_error": {
                name: plain(values) for name, values in self.stderr.items() if (values > 0).any()
            },
            "regime": list(self.regimes),
        }
