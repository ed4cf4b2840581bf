"""Stage of figures 2 and 4: random-features regression, predicted and simulated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.papers.chang2020.specs import RandomFeaturesSpec
from prunable.predict.features.random_features import (
    LayerRisks,
    RandomFeatures,
    predict_random_features,
    simulate_random_features,
)
from prunable.runs.store import Run


def predict_and_simulate(spec: RandomFeaturesSpec, run: Run) -> dict[str, Any]:
    """Predict and simulate on the same first layers.

    Returns
    -------
    dict
        `predicted` and `simulated`: by model, a list a first layer of a number a size kept,
        None where the prediction is infinite or not made. `condition` and `n_floored` of the
        feature covariances, `residual` of the fixed points.
    """
    features = RandomFeatures(d=spec.d)
    predicted = predict_random_features(
        features, spec.n, spec.p, spec.kept, draws=spec.layers, seed=spec.seed, on_draw=run.on_step
    )
    simulated = simulate_random_features(
        features,
        spec.n,
        spec.p,
        spec.kept,
        draws=spec.layers,
        repeats=spec.data_sets,
        seed=spec.seed,
        on_draw=lambda done: run.on_step(spec.layers + done),
    )
    return {
        "predicted": _by_model(predicted),
        "simulated": _by_model(simulated),
        "condition": predicted.condition,
        "n_floored": predicted.n_floored,
        "residual": predicted.residual,
    }


def _by_model(found: LayerRisks) -> dict[str, list[list[float | None]]]:
    return {model.value: _plain(risks) for model, risks in found.risks.items()}


def _plain(rows: NDArray[np.float64]) -> list[list[float | None]]:
    return [[float(x) if np.isfinite(x) else None for x in row] for row in rows]
