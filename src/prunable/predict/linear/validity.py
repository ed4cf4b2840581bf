"""How far predictions for random features were from simulations, measured on a grid."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

TABLE = "random_features_validity.json"
# Outside by more than this factor, the table does not speak.
SLACK = 1.5
AXES = ("d", "n", "p_over_n", "s_over_n")


@dataclass(frozen=True)
class Validity:
    """The cell of the table nearest to a setting.

    Attributes
    ----------
    inside : bool
        Whether the setting lies within the range of the table, up to a factor of 1.5.
    d, n : int
        Inputs and examples of the cell.
    p_over_n, s_over_n : float
        Its features and features kept, per example.
    error_percent, stderr_percent : dict of str to float
        100 (predicted / simulated - 1) by model, and its standard error; ReLU features and the
        quadratic target.
    """

    inside: bool
    d: int
    n: int
    p_over_n: float
    s_over_n: float
    error_percent: dict[str, float]
    stderr_percent: dict[str, float]


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """Read the table that comes with the package; `tools/predict_features_study.py` writes it."""
    text = files("prunable.predict.linear").joinpath(TABLE).read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def nearest_cell(d: int, n: int, p: int, s: int) -> Validity:
    """Look up how far predictions were from simulations in the nearest setting measured.

    Parameters
    ----------
    d, n, p, s : int
        Inputs, examples, features, features kept; all >= 1.

    Returns
    -------
    Validity
        Nearest by the logarithms of d, n, p / n and s / n.
    """
    asked = (d, n, p / n, s / n)
    cells = table()["cells"]

    def distance(cell: dict[str, Any]) -> float:
        return math.hypot(
            *(math.log(cell[a] / value) for a, value in zip(AXES, asked, strict=True))
        )

    found = min(cells, key=distance)
    ranges = [sorted(cell[axis] for cell in cells) for axis in AXES]
    inside = all(
        low[0] / SLACK <= value <= low[-1] * SLACK for low, value in zip(ranges, asked, strict=True)
    )
    return Validity(inside=inside, **found)
