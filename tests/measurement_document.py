"""Synthetic documents of `prunable measure`: every verdict, refusals, hostile names."""

import copy

import numpy as np

from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import (
    Checkpoint,
    CheckpointLayer,
    Comparison,
    LayerDifference,
    Measurement,
    Ordering,
    Overall,
    SharedBudget,
    Skipped,
    Trajectory,
)
from prunable.numerics.measure.options import Options

EPS = ["0.05", "0.1", "0.2"]
HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
MARKUP = "[red]x[/red]|`y`\x1b[31m{{7*7}}"
SHAPES = {
    "features.0.weight": ("stable", "convolution", [64, 3, 3, 3]),
    "encoder.layers.0.self_attn.q_proj.weight": ("gaussian-like", "attention", [64, 64]),
    HOSTILE: ("too few", "dense", [4, 2]),
    MARKUP: ("heavy but not stable", "recurrent", [128, 32]),
    "embedding.weight": ("inconclusive", "embedding", [1000, 16]),
    "head.weight": ("light-tailed", "dense", [10, 64]),
}


def _by_eps(values):
    return dict(zip(EPS, map(float, values), strict=True))


def _layer(name, verdict, kind, shape, rng):
    alpha = {"gaussian-like": 1.98, "light-tailed": 2.0}.get(verdict, float(rng.uniform(1.2, 1.9)))
    eps = np.geomspace(0.01, 1, 40)
    granularities = ["weight", "node", "unit", "singular_value"]
    granularities += ["kernel"] if kind == "convolution" else []
    curves = {
        name: (1 - eps**power).clip(0).tolist() for power, name in enumerate(granularities, 1)
    }
    x = np.geomspace(0.01, 10, 60)
    k = np.unique(np.geomspace(5, 500, 50).astype(int))
    methods = [
        "log_moment",
        "log_variance",
        "quantile",
        "ecf_two_point",
        "ecf_regression",
        "hill",
        "log_moment_rows",
        "log_moment_columns",
        "authors",
    ]
    estimators = {
        method: {
            "alpha": alpha + float(rng.normal(0, 0.05)),
            "stderr": 0.05,
            "n": int(np.prod(shape)),
            "status": "ok",
        }
        for method in methods
    }
    estimators["hill"] |= {"status": "not_stable", "stderr": None}
    estimators["authors"] |= {"alpha": None, "stderr": None, "status": "degenerate"}
    correlation = {"intraclass_correlation": 0.012, "f": 1.4, "p_value": 0.03}
    fit = {"scale": 0.02, "ks": 0.011, "anderson_darling": 0.7, "p_value": 0.4, "n": 1728}
    return {
        "name": name,
        "shape": shape,
        "role": "output" if "head" in name else "hidden",
        "kind": kind,
        "dtype": "float32",
        "n": int(np.prod(shape)),
        "zeros_share": 0.125,
        "alpha": alpha,
        "alpha_stderr": 0.04,
        "verdict": verdict,
        "reason": f"The estimators say {verdict} & that is <b>that</b>.",
        "estimators": estimators,
        "stable_fit": fit | {"alpha": alpha},
        "gaussian_fit": fit | {"p_value": 0.0},
        "tail": {"extreme_value_index": 1 / alpha, "stderr": 0.02, "k": 100},
        "hill_plot": {
            "k": k.tolist(),
            "alpha": (alpha + 1 / np.sqrt(k)).tolist(),
            "plateau": [50, 200],
        },
        "dependence": {
            "regime": "dependent in rows",
            "rows": correlation,
            "columns": correlation,
            "splits": {key: {"ks": 0.02, "p_value": 0.5} for key in ("random", "rows", "columns")},
        },
        "spectrum": {
            "spectral_alpha": 2.4,
            "stderr": 0.2,
            "expected_if_iid": 1 + alpha / 2,
            "ks": 0.05,
            "n_tail": 30,
            "status": "ok",
        },
        "kappa": {key: _by_eps(np.sort(rng.uniform(0, 1, 3))[::-1]) for key in granularities},
        "curves": {
            "eps": eps.tolist(),
            **curves,
            "gaussian": (1 - eps**1.5).tolist(),
            "stable_median": (1 - eps**0.5).tolist(),
            "stable_low": (0.9 - 0.9 * eps**0.5).tolist(),
            "stable_high": np.minimum(1, 1.1 - eps**0.5).tolist(),
        },
        "tail_plot": {
            "x": x.tolist(),
            "survival": np.minimum(1, 0.1 * x**-alpha).tolist(),
            "stable": np.minimum(1, 0.11 * x**-alpha).tolist(),
            "gaussian": np.exp(-0.5 * x**2).tolist(),
        },
    }


def _refuse(layer):
    """Leave nothing but the name, as for a layer of a handful of weights."""
    for estimate in layer["estimators"].values():
        estimate |= {"alpha": None, "stderr": None, "status": "too_few"}
    layer |= dict.fromkeys(
        (
            "alpha",
            "alpha_stderr",
            "zeros_share",
            "stable_fit",
            "gaussian_fit",
            "tail",
            "hill_plot",
            "dependence",
            "spectrum",
            "curves",
            "tail_plot",
        )
    )
    layer["kappa"] = {"weight": dict.fromkeys(EPS), "node": None}


def measurement_document(n_layers=None, against=False):
    """A document of six layers of every kind, or of many layers like the others."""
    rng = np.random.default_rng(0)
    names = list(SHAPES.items())
    if n_layers is not None:
        names = [(f"blocks.{i}.weight", names[(0, 1, 3, 4, 5)[i % 5]][1]) for i in range(n_layers)]
    layers = [_layer(name, *rest, rng) for name, rest in names]
    for layer in layers:
        if layer["verdict"] == "too few":
            _refuse(layer)
    verdicts = {}
    for layer in layers:
        verdicts[layer["verdict"]] = verdicts.get(layer["verdict"], 0) + 1
    shares = {"best": 0.2, "common_eps": 0.25, "global_threshold": 0.3125}
    document = {
        "schema_version": 1,
        "model": "runs/<net>.safetensors",
        "settings": {"p": 2.0, "eps": [float(eps) for eps in EPS], "seed": 0},
        "layers": layers,
        "overall": {
            "n": sum(layer["n"] for layer in layers),
            "n_layers": len(layers),
            "verdicts": verdicts,
            "n_alpha": 2,
            "alpha_mean": 1.66,
            "alpha_median": 1.71,
            "kappa": {
                "common_eps": _by_eps([0.9, 0.8, 0.7]),
                "global_threshold": _by_eps([0.85, 0.75, 0.65]),
            },
            "allocation": {
                eps: {
                    "budget": len(layers) * float(eps) ** 2,
                    "spent": len(layers) * float(eps) ** 2,
                    **shares,
                    "lamp": 0.22,
                    "layers": {layer["name"]: shares for layer in layers},
                }
                for eps in EPS
            },
            "ordering": {
                "p": 1.0,
                "eps": 0.1,
                "kendall_tau": 0.6,
                "p_value": 0.01,
                "n_layers": len(layers),
            },
        },
        "skipped": [
            {"name": "bn.<u>", "reason": "one-dimensional"},
            {"name": "bias", "reason": "one-dimensional"},
            {"name": "index", "reason": "integers"},
        ],
    }
    if against:
        document["comparison"] = {
            "against": "runs/other<b>.safetensors",
            "estimator": "ecf_regression",
            "layers": [_pair(layer, rng) for layer in layers],
            "only_in_model": ["only<here>"],
            "only_in_against": [],
        }
    return copy.deepcopy(document)


def _pair(layer, rng):
    alpha = layer["alpha"]
    difference = None if alpha is None else float(rng.normal(0, 0.2))
    return {
        "name": layer["name"],
        "alpha": [alpha, None if alpha is None else alpha - difference],
        "alpha_difference": difference,
        "stderr": None if alpha is None else 0.06,
        "z": None if alpha is None else difference / 0.06,
        "verdict": [layer["verdict"], "stable"],
        "kappa_weight": {eps: [layer["kappa"]["weight"][eps], 0.5] for eps in EPS},
    }


def trajectory_document(n_steps=5, n_layers=None):
    """Checkpoints of one training; the hostile layer is missing from the first."""
    rng = np.random.default_rng(1)
    names = list(SHAPES) if n_layers is None else [f"blocks.{i}.weight" for i in range(n_layers)]

    def layer(place, step):
        return {
            "alpha": None if place == 1 else 2 - 0.1 * step - 0.05 * (place % 7),
            "alpha_stderr": None if place == 1 else 0.03,
            "verdict": "stable" if step else "gaussian-like",
            "kappa_weight": _by_eps(np.sort(rng.uniform(0, 1, 3))[::-1]),
        }

    return {
        "schema_version": 1,
        "estimator": "ecf_regression",
        "trajectory": [
            {
                "model": f"step<{step}>.safetensors",
                "step": 100 * step,
                "alpha_mean": None if step == 2 else 1.9 - 0.1 * step,
                "alpha_median": 1.8,
                "kappa": _by_eps(np.array([0.9, 0.8, 0.7]) - 0.05 * step),
                "layers": {
                    name: layer(place, step)
                    for place, name in enumerate(names)
                    if step or name != HOSTILE
                },
            }
            for step in range(n_steps)
        ],
    }


def measurement_of(document):
    """The measurement that has this document; parts that are only handed on stay dictionaries."""
    overall, found = document["overall"], document.get("comparison")
    allocation = {eps: SharedBudget(**at) for eps, at in overall["allocation"].items()}
    ordering = overall["ordering"] and Ordering(**overall["ordering"])
    return Measurement(
        document["model"],
        Options(**document["settings"]),
        tuple(MeasuredLayer(**layer) for layer in document["layers"]),
        Overall(**overall | {"allocation": allocation, "ordering": ordering}),
        tuple(Skipped(**skipped) for skipped in document["skipped"]),
        found
        and Comparison(**found | {"layers": tuple(LayerDifference(**x) for x in found["layers"])}),
    )


def trajectory_of(document):
    """The trajectory that has this document."""
    points = [
        Checkpoint(
            **point
            | {"layers": {name: CheckpointLayer(**x) for name, x in point["layers"].items()}}
        )
        for point in document["trajectory"]
    ]
    return Trajectory(document["estimator"], tuple(points))
