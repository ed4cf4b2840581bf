"""Markdown of the study of risks on random and on real features."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from prunable.predict.features.figures import LABELS

Document = dict[str, Any]
MODELS = tuple(LABELS)
BUCKETS = (0.0, 0.4, 0.5, 0.7, 1.0, 1000.0)
# With fewer examples the moments themselves are poor.
FEW = 1500


def to_markdown(document: Document) -> str:
    """Write what was measured as Markdown.

    Parameters
    ----------
    document : dict
        What tools/predict_features_study.py measured.

    Returns
    -------
    str
    """
    settings = document["settings"]
    parts = [
        "# Predicted risks on features, held against the truth",
        "",
        "Errors are 100 (predicted / measured - 1) percent of the mean risk, noise included. "
        "Made by `tools/predict_features_study.py`; how it works: "
        "[predict-features.md](../predict-features.md).",
        "",
        "## Random features of Gaussian inputs",
        "",
        f"ReLU features of Gaussian inputs, target (beta . a)^2, weights N(0, 1); "
        f"{settings['draws'][0]} (n = 200) or {settings['draws'][1]} first layers, "
        f"{settings['repeats']} training sets each, exact population risks. "
        "Prediction and simulation share their first layers; ± is one standard error.",
        "",
        "Median of the absolute error over n, p/n and s/n, and the largest, by number of inputs:",
        "",
        *_by_inputs(document["cells"]),
        "",
        "The same by width, over all d:",
        "",
        *_by_width(document["cells"]),
        "",
        "At p = 3 n and s = 0.3 n:",
        "",
        *_slice(document["cells"]),
        "",
        "![Errors against the number of inputs](rf-errors.svg)",
        "",
        "The setting of the 2020 paper's Fig. 2 (d = 10, n = 200):",
        "",
        "![Risk against width](rf-curve.svg)",
        "",
        "### Where the error comes from",
        "",
        "At n = 100 and p = 300, the equivalent Gaussian problem was simulated too. `law` is the "
        "prediction against that, `features` is that against true features.",
        "",
        *_causes(document["causes"]),
        "",
        "### Other nonlinearities and targets",
        "",
        "d = 20, n = 100, p = 300, s = 30, weights N(0, 1/d).",
        "",
        *_others(document["others"]),
        "",
        "## Real features",
        "",
        "One-against-rest regression, risks summed over classes; moments from 70 % of the "
        "examples, the truth from 12 training sets out of these, tested on the other 30 %. "
        "`spread` says how unequal the examples are: 0 for Gaussian features.",
        "",
        *_real(document["real"]),
        "",
        "By spread, over all points of the table but those with fewer than 1,500 examples, against "
        "the mean / the median over training sets:",
        "",
        *_by_spread(document["real"]),
        "",
        "![MNIST](features-mnist.svg)",
        "",
        "![ECG5000](features-ecg5000.svg)",
        "",
        "### Point by point",
        "",
        *_points(document["real"]),
    ]
    return "\n".join(parts) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _head(*titles: str) -> list[str]:
    return [_row(*titles), "|" + "---|" * len(titles)]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


def _spread_of(cells: list[Document], model: str) -> str:
    errors = np.abs([cell["error_percent"][model] for cell in cells])
    return f"{np.median(errors):.1f} / {errors.max():.1f} %"


def _by_inputs(cells: list[Document]) -> list[str]:
    lines = _head("d", *LABELS.values())
    for d in sorted({cell["d"] for cell in cells}):
        chosen = [cell for cell in cells if cell["d"] == d]
        lines.append(_row(str(d), *(_spread_of(chosen, model) for model in MODELS)))
    return lines


def _by_width(cells: list[Document]) -> list[str]:
    lines = _head("p/n", *LABELS.values())
    for ratio in sorted({cell["p_over_n"] for cell in cells}):
        chosen = [cell for cell in cells if cell["p_over_n"] == ratio]
        lines.append(_row(f"{ratio:g}", *(_spread_of(chosen, model) for model in MODELS)))
    return lines


def _slice(cells: list[Document]) -> list[str]:
    lines = _head("d", "n", *LABELS.values())
    for cell in cells:
        if cell["p_over_n"] == 3 and abs(cell["s_over_n"] - 0.3) < 0.02:
            errors = (
                f"{cell['error_percent'][m]:+.1f} ± {cell['stderr_percent'][m]:.1f} %"
                for m in MODELS
            )
            lines.append(_row(str(cell["d"]), str(cell["n"]), *errors))
    return lines


def _causes(causes: list[Document]) -> list[str]:
    lines = _head("d", "s", "", *LABELS.values())
    for cause in causes:
        for point in cause["points"]:
            for part in ("law", "features", "together"):
                errors = (_percent(point[part][model]) for model in MODELS)
                lines.append(_row(str(cause["d"]), str(point["s"]), part, *errors))
    return lines


def _others(others: list[Document]) -> list[str]:
    lines = _head("features", "target", *LABELS.values())
    for other in others:
        errors = (_percent(other["error_percent"][model]) for model in MODELS)
        lines.append(_row(other["activation"], other["link"], *errors))
    return lines


def _real(real: dict[str, Document]) -> list[str]:
    lines = _head("data", "examples", "p", "n", "spread", "shrinkage", *LABELS.values())
    for part in real.values():
        errors = (
            f"{found['median_absolute']:.1f} / {found['largest_absolute']:.1f} / "
            f"{found['median_absolute_of_median']:.1f} %"
            if (found := part["errors"].get(model))
            else ""
            for model in MODELS
        )
        lines.append(
            _row(
                part["label"],
                f"{part['examples']:,}",
                str(part["features"]),
                str(part["n"]),
                f"{min(part['spreads']):.2f} to {max(part['spreads']):.2f}",
                f"{part['shrinkage']:.2g}",
                *errors,
            )
        )
    return [
        "Absolute error over widths and numbers kept: median / largest, against the mean over "
        "training sets / median, against their median.",
        "",
        *lines,
    ]


def _by_spread(real: dict[str, Document]) -> list[str]:
    points = [
        point for part in real.values() if part["examples"] >= FEW for point in part["points"]
    ]
    lines = _head("spread", "points", *LABELS.values())
    for low, high in itertools.pairwise(BUCKETS):
        chosen = [point for point in points if low <= point["spread"] < high]
        if not chosen:
            continue
        cells = []
        for model in MODELS:
            found = [
                [abs(point[key][model]) for point in chosen if point[key].get(model) is not None]
                for key in ("error_percent", "error_percent_of_median")
            ]
            cells.append(" / ".join(f"{np.median(e):.1f}" if e else "" for e in found) + " %")
        name = f"{low:g} to {high:g}" if high < 100 else f"above {low:g}"
        lines.append(_row(name, str(len(chosen)), *cells))
    return lines


def _points(real: dict[str, Document]) -> list[str]:
    lines = _head("data", "width", "s", "spread", *LABELS.values())
    for name in ("mnist", "ecg5000", "fashion-mnist", "digits", "network", "network-small-n"):
        part = real[name]
        for point in part["points"]:
            cells = (
                ""
                if point["measured"].get(model) is None or point["risk"].get(model) is None
                else f"{point['risk'][model]:.3g} / {point['measured'][model]:.3g} / "
                f"{point['measured_median'][model]:.3g}"
                for model in MODELS
            )
            lines.append(
                _row(
                    part["label"],
                    str(point["width"]),
                    str(point["s"]),
                    f"{point['spread']:.2f}",
                    *cells,
                )
            )
    return ["Predicted risk / mean / median over training sets:", "", *lines]
