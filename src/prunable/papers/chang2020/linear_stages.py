"""Stages of figures 3 and 7: linear Gaussian problems, predicted and simulated."""

from __future__ import annotations

import math
from typing import Any

from prunable.numerics.randomness import rng
from prunable.papers.chang2020.specs import LinearCurveSpec, LinearTrialsSpec
from prunable.predict.linear.curve import Wanted
from prunable.predict.linear.curves import width_curve
from prunable.predict.linear.methods import Method
from prunable.predict.linear.presets import Preset, preset
from prunable.predict.linear.simulate import simulate_replica, summarise
from prunable.runs.store import Run

RETRAINED_AFTER = (Method.MAGNITUDE, Method.HESSIAN)

# Differences within a data set, whose noise cancels largely.
PAIRS = (
    ("hessian", "magnitude"),
    ("retrained", "magnitude"),
    ("retrained_hessian", "hessian"),
    ("retrained_same_data", "magnitude"),
    ("retrained_same_data_hessian", "hessian"),
)


def predict_curve(spec: LinearCurveSpec, run: Run) -> dict[str, Any]:
    """Predict all risks at all widths.

    Returns
    -------
    dict
        `risk`: by name, as `predict_risks` has them, a list with a number a width, None where
        it is infinite or not predicted.
    """
    del run
    panel = _panel(spec)
    wanted = Wanted(
        retrain_by=RETRAINED_AFTER, same_data_by=RETRAINED_AFTER if spec.same_data else ()
    )
    generator = rng(spec.seed, "chang2020", "curve", spec.panel)
    curve = width_curve(panel.problem, panel.n, panel.s, spec.widths, wanted, rng=generator)
    found = curve.to_dict()
    return {"risk": found["risk"], "stderr": found["standard_error"]}


def simulate_widths(spec: LinearTrialsSpec, run: Run) -> dict[str, Any]:
    """Train, prune and retrain on simulated data.

    Returns
    -------
    dict
        `mean` and `stderr`: by name, a list with a number a width. Beside the risks there are
        the differences "hessian - magnitude" and so on of risks on the same data.
    """
    panel = _panel(spec)
    trials = []
    for trial in range(spec.trials):
        rows = simulate_replica(
            panel.problem,
            panel.n,
            panel.s,
            seed=spec.seed,
            replica=trial,
            widths=spec.widths,
            retrain_by=RETRAINED_AFTER,
        )
        trials.append([row | _differences(row) for row in rows])
        run.on_step(trial + 1)
    found = [summarise([rows[place] for rows in trials]) for place in range(len(spec.widths))]
    names = list(found[0])
    return {
        "mean": {name: [_plain(at[name].mean) for at in found] for name in names},
        "stderr": {name: [_plain(at[name].stderr) for at in found] for name in names},
    }


def _panel(spec: LinearCurveSpec | LinearTrialsSpec) -> Preset:
    return preset(f"fig7{spec.panel}", p=spec.p, sigma=spec.sigma)


def _differences(row: dict[str, float]) -> dict[str, float]:
    return {f"{one} - {other}": row[one] - row[other] for one, other in PAIRS}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
