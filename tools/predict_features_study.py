"""Measure how well risks on random and on real features are predicted.

Usage: python tools/predict_features_study.py docs/predict [WORK]

Writes `features.json`, `features.md` and SVG figures, and the table of errors that comes with
the package; about an hour on two cores. What is finished is kept in WORK (default: OUT/work), so
that an interrupted run goes on. Seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from predict_features_page import save_figures, to_markdown
from rich.progress import track
from usage import typed

from prunable.data.loaders import load
from prunable.files import read_json, write_json, write_text
from prunable.nets.models import Architecture, build
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.numerics.randomness import child_seed, rng
from prunable.predict.features import random_features as rf
from prunable.predict.features.extracting import extract_features
from prunable.predict.features.moments import equivalent_problem
from prunable.predict.features.prediction import predict_features
from prunable.predict.linear.names import Model
from prunable.predict.linear.simulate import draw_data, train_prune

SEED = 0
INPUTS = (5, 10, 20, 50, 100)
EXAMPLES = (50, 100, 200)
WIDTHS = (0.5, 1.5, 3.0, 6.0)
KEPT = (0.1, 0.3, 0.5, 0.7)
REPEATS = 6
OTHERS = (
    ("erf", "square"),
    ("sigmoid", "square"),
    ("tanh", "square"),
    ("sign", "square"),
    ("gelu", "square"),
    ("relu", "linear"),
    ("relu", "absolute"),
    ("relu", "sign"),
    ("tanh", "tanh"),
    ("erf", "cubic"),
)
CURVE = {"d": 10, "n": 200}
CURVE_WIDTHS = (30, 60, 100, 140, 170, 230, 300, 400, 600, 1000)
PACKAGED = Path(rf.__file__).with_name(rf.TABLE)

Row = dict[str, Any]


def draws(n: int) -> int:
    """First layers to average over: larger problems vary less, and take longer."""
    return 16 if n < 200 else 10


def kept_out(path: Path, make: Callable[[], Row]) -> Row:
    """A part of the study, read if it is finished."""
    if not path.exists():
        write_json(path, make())
    found: Row = read_json(path)
    return found


def both(
    features: rf.RandomFeatures, n: int, p: int, kept: list[int]
) -> tuple[rf.LayerRisks, rf.LayerRisks]:
    """Risks predicted and simulated on the same first layers."""
    predicted = rf.predict_random_features(features, n, p, kept, draws=draws(n), seed=SEED)
    simulated = rf.simulate_random_features(
        features, n, p, kept, draws=draws(n), repeats=REPEATS, seed=SEED
    )
    return predicted, simulated


def summary(predicted: rf.LayerRisks, simulated: rf.LayerRisks, place: int) -> Row:
    """Means, standard errors and errors in percent, by model, for one number kept."""
    row: Row = {
        "predicted": {},
        "simulated": {},
        "simulated_stderr": {},
        "error_percent": {},
        "stderr_percent": {},
    }
    for model in Model:
        found = rf.compare(predicted, simulated, model)
        values = (
            predicted.mean(model),
            simulated.mean(model),
            simulated.stderr(model),
            found.percent,
            found.stderr_percent,
        )
        for key, value in zip(row, values, strict=True):
            row[key][model.value] = round(float(value[place]), 4)
    return row


def cells(d: int, n: int, ratio: float) -> Row:
    """Errors for ReLU features of quadratic targets."""
    p = round(ratio * n)
    kept = [s for s in (round(share * n) for share in KEPT) if s < p]
    features = rf.RandomFeatures(d)
    predicted, simulated = both(features, n, p, kept)
    return {
        "cells": [
            {
                "d": d,
                "n": n,
                "p_over_n": ratio,
                "s_over_n": s / n,
                **summary(predicted, simulated, i),
            }
            for i, s in enumerate(kept)
        ]
    }


def other(activation: str, link: str) -> Row:
    """Errors for another nonlinearity or target."""
    features = rf.RandomFeatures(20, activation, link, weight_scale=20**-0.5)
    n, p, kept = 100, 300, [30]
    predicted, simulated = both(features, n, p, kept)
    return {"activation": activation, "link": link, **summary(predicted, simulated, 0)}


def curve(width: int) -> Row:
    """One width of the paper's Fig. 2 (d = 10, n = 200, s / n = 0.1, 0.3, 0.5, 0.7)."""
    d, n = CURVE["d"], CURVE["n"]
    kept = [min(round(share * n), width) for share in KEPT]
    features = rf.RandomFeatures(d)
    predicted, simulated = both(features, n, width, kept)
    return {
        "p": width,
        "points": [
            {"s_over_n": share, **summary(predicted, simulated, i)} for i, share in enumerate(KEPT)
        ],
    }


def causes(d: int) -> Row:
    """Split the error at n = 100, p = 300: the law's, and the Gaussian features'."""
    features, n, p, kept = rf.RandomFeatures(d), 100, 300, [10, 30, 70]
    predicted, simulated = both(features, n, p, kept)
    gaussian = {model: np.zeros((draws(n), len(kept))) for model in Model}
    for draw in range(draws(n)):
        layer = features.layer(p, rng(SEED, "layer", p, draw))
        problem = equivalent_problem(features.moments(layer)).problem
        generator = rng(SEED, "gaussian", d, draw)
        for _ in range(REPEATS):
            data, fresh = (draw_data(problem, n, generator) for _ in range(2))
            for model, weights in train_prune(data, kept, problem.saliencies, fresh=fresh).items():
                gaussian[model][draw] += problem.risk_of(weights) / REPEATS
    twin = rf.LayerRisks(n, p, tuple(kept), gaussian)
    return {
        "d": d,
        "n": n,
        "p": p,
        "points": [
            {
                "s": s,
                "law": summary(predicted, twin, i)["error_percent"],
                "features": summary(twin, simulated, i)["error_percent"],
                "together": summary(predicted, simulated, i)["error_percent"],
            }
            for i, s in enumerate(kept)
        ],
    }


def relu_features(name: str, p: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Random ReLU features of a data set, and its classes, in random order."""
    data = load(name)
    inputs = np.concatenate([data.x_train, data.x_test]).astype(np.float64)
    labels = np.concatenate([data.y_train, data.y_test])
    order = rng(SEED, "study", name).permutation(len(inputs))[:count]
    inputs, labels = inputs[order], labels[order]
    inputs /= np.sqrt(np.mean(np.sum(inputs**2, axis=1)))
    layer = rng(SEED, "study layer", name).standard_normal((p, inputs.shape[1]))
    return np.maximum(inputs @ layer.T, 0), labels


def network_features(name: str, width: int) -> tuple[NDArray[np.float64], NDArray[np.int64], Row]:
    """Penultimate features on test examples of a network trained on the training examples."""
    data = load(name)
    x, y, x_test, y_test = (
        torch.from_numpy(part.copy())
        for part in (data.x_train, data.y_train, data.x_test, data.y_test)
    )
    architecture = Architecture("two-layer", (x.shape[1],), len(data.class_names), width)
    model = build(architecture, generator=torch.Generator().manual_seed(child_seed(SEED, "net")))
    settings = TrainingSettings(
        lr=1e-3, steps=2000, batch_size=100, seed=SEED, optimizer="adam", log_every=2000
    )
    train(model, x, y, settings)
    accuracy = evaluate(model, x_test, y_test)["accuracy"]
    return extract_features(model, x_test), y_test.numpy(), {"test_accuracy": accuracy}


def real(
    label: str, x: NDArray[np.float64], labels: NDArray[np.int64], n: int, **options: Any
) -> Row:
    """Predictions and truth for one-against-rest regression."""
    y = (labels[:, None] == np.unique(labels)).astype(np.float64)
    found = predict_features(x, y, n, repeats=12, draws=32, seed=SEED, **options)
    estimate = found.estimate
    return {
        "label": label,
        "examples": len(x),
        "features": x.shape[1],
        "targets": y.shape[1],
        "n": n,
        "shrinkage": estimate.share,
        "null_risk": float(found.null.sum()),
        "noise": float(estimate.noise.sum()),
        "spreads": list(found.spreads),
        "points": found.points(),
        "errors": found.errors(),
    }


def real_parts() -> dict[str, Callable[[], Row]]:
    """The studies on real data, by name."""

    def random_layer(
        name: str, label: str, p: int, count: int, n: int, **options: Any
    ) -> Callable[[], Row]:
        def make() -> Row:
            x, labels = relu_features(name, p, count)
            kept = options.pop("kept", [n // 10, 3 * n // 10, 7 * n // 10])
            return real(label, x, labels, n, kept=kept, **options)

        return make

    def network(name: str, label: str, width: int, n: int) -> Callable[[], Row]:
        def make() -> Row:
            x, labels, about = network_features(name, width)
            kept = [width // 16, width // 4, width // 2]
            return about | real(label, x, labels, n, kept=kept, widths=[width // 2, width])

        return make

    widths = [150, 250, 400, 600, 1000]
    parts = {
        "mnist": random_layer(
            "mnist", "MNIST, random ReLU features", 1000, 20000, 300, widths=widths
        ),
        "ecg5000": random_layer(
            "ecg5000",
            "ECG5000, random ReLU features",
            600,
            5000,
            150,
            widths=[75, 120, 200, 300, 600],
        ),
        "fashion-mnist": random_layer(
            "fashion-mnist",
            "Fashion-MNIST, random ReLU features",
            600,
            20000,
            300,
            widths=[150, 600],
        ),
        "digits": random_layer(
            "digits", "digits, random ReLU features", 400, 1797, 150, widths=[75, 400]
        ),
        "network": network("mnist", "MNIST, hidden layer of a trained network", 256, 400),
        "network-small-n": network("mnist", "MNIST, hidden layer, few examples", 256, 150),
    }
    for count in (700, 1500, 5000):
        for shrinkage in ("held-out", "ledoit-wolf", "none"):
            parts[f"mnist-{count}-{shrinkage}"] = random_layer(
                "mnist",
                f"MNIST, {count} examples, {shrinkage}",
                600,
                count,
                300,
                widths=[600],
                shrinkage=shrinkage,
            )
    return parts


def main(out: Path, work: Path, packaged: Path = PACKAGED) -> None:
    """Run what is missing, and write the results."""
    grid = [(d, n, r) for n in EXAMPLES for d in INPUTS for r in WIDTHS]
    found = [
        kept_out(work / f"cell-{d}-{n}-{r}.json", partial(cells, d, n, r))
        for d, n, r in track(grid, "grid")
    ]
    table = [cell for part in found for cell in part["cells"]]
    axes = (*rf.AXES, "error_percent", "stderr_percent")
    write_json(
        packaged,
        {
            "activation": "relu",
            "link": "square",
            "draws": [10, 16],
            "repeats": REPEATS,
            "cells": [{axis: cell[axis] for axis in axes} for cell in table],
        },
    )
    document = {
        "settings": {"draws": [10, 16], "repeats": REPEATS, "seed": SEED},
        "cells": table,
        "curve": {
            **CURVE,
            "widths": CURVE_WIDTHS,
            "rows": [
                kept_out(work / f"curve-{w}.json", partial(curve, w))
                for w in track(CURVE_WIDTHS, "curve")
            ],
        },
        "others": [
            kept_out(work / f"other-{a}-{b}.json", partial(other, a, b))
            for a, b in track(OTHERS, "activations")
        ],
        "causes": [
            kept_out(work / f"causes-{d}.json", partial(causes, d))
            for d in track((5, 10, 50, 200), "causes")
        ],
        "real": {
            name: kept_out(work / f"real-{name}.json", make)
            for name, make in track(list(real_parts().items()), "real data")
        },
    }
    write_json(out / "features.json", document)
    write_text(out / "features.md", to_markdown(document))
    save_figures(document, out)


if __name__ == "__main__":
    folder, *work = map(Path, typed(__doc__, 1, 2))
    main(folder, work[0] if work else folder / "work")
