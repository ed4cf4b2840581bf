"""One self-contained HTML page, with interactive charts, out of a measurement."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePath
from typing import Any

from prunable.errors import InputError
from prunable.files import write_text
from prunable.report import pages
from prunable.report.figures import PALETTE
from prunable.report.measure import measure_tables as tables
from prunable.report.measure.measurement import (
    Comparison,
    Layer,
    MeasurementDocument,
    TrajectoryDocument,
    at_eps,
    middle_eps,
)

METHODS = {
    "log_moment": "log-moment",
    "log_moment_rows": "log-moment, rows",
    "log_moment_columns": "log-moment, columns",
    "log_moment_kernels": "log-moment, kernels",
    "log_variance": "log-variance",
    "quantile": "quantiles",
    "ecf_two_point": "char. function, 2 points",
    "ecf_regression": "char. function, regression",
    "hill": "Hill",
    "authors": "paper authors' code",
}
RULES = {
    "best": "best allocation",
    "common_eps": "one common eps",
    "global_threshold": "one global threshold",
}
# Points of one curve on a page of few layers, and of all layers' curves together.
CURVE_POINTS = 200
PAGE_POINTS = 100_000


def render_measurement(doc: MeasurementDocument) -> str:
    """Render the page of one network; it loads nothing from elsewhere.

    Parameters
    ----------
    doc : MeasurementDocument

    Returns
    -------
    str
        HTML; whatever comes from the document is escaped.

    Raises
    ------
    InputError
        If plotly is not installed.
    """
    points = max(24, min(CURVE_POINTS, PAGE_POINTS // max(1, len(doc.layers))))
    data = {
        "eps": [f"{eps:g}" for eps in doc.settings.eps],
        "middle": doc.settings.eps.index(doc.settings.middle_eps),
        "methods": METHODS,
        "granularities": tables.GRANULARITIES,
        "rules": RULES,
        "layers": [_layer(layer, doc, points) for layer in doc.layers],
        "comparison": doc.comparison and _comparison(doc.comparison, doc),
    }
    return _render(
        doc,
        data,
        title=f"How prunable is {_name(doc.model)}",
        overall=tables.overall_table(doc),
        lines=tables.overall_lines(doc),
        middle=f"{doc.settings.middle_eps:g}",
        kept=at_eps(doc.overall.allocation, doc.settings.middle_eps),
        reasons=Counter(skipped.reason for skipped in doc.skipped).most_common(),
        points=points,
    )


def render_trajectory(doc: TrajectoryDocument) -> str:
    """Render the page of several checkpoints; see `render_measurement`."""
    eps = doc.eps
    data = {
        "eps": eps,
        "middle": len(eps) // 2,
        "steps": [point.step for point in doc.trajectory],
        "alpha_mean": [point.alpha_mean for point in doc.trajectory],
        "kappa": [[at_eps(point.kappa, float(e)) for point in doc.trajectory] for e in eps],
        "layers": [_history(name, doc) for name in doc.layer_names],
    }
    return _render(
        doc,
        data,
        title="How prunability changes along the training",
        overall=tables.trajectory_table(doc),
        middle=f"{middle_eps(doc):g}" if eps else "",
    )


def write_measurement(doc: MeasurementDocument | TrajectoryDocument, path: Path) -> None:
    """Write the page of either document atomically; see `render_measurement`.

    Raises
    ------
    InputError
        If plotly is not installed, or the file cannot be written.
    """
    if isinstance(doc, MeasurementDocument):
        write_text(path, render_measurement(doc))
    else:
        write_text(path, render_trajectory(doc))


def _render(doc: MeasurementDocument | TrajectoryDocument, data: Any, **shown: Any) -> str:
    plotlyjs = pages.plotly_script()
    if plotlyjs is None:
        raise InputError(
            "the HTML page needs plotly, which is not installed. "
            "Install it: pip install 'prunable[html]'."
        )
    return pages.render(
        "measure.html.j2",
        doc=doc,
        trajectory=isinstance(doc, TrajectoryDocument),
        data=pages.script_data(_rounded(data)),
        plotlyjs=plotlyjs,
        palette=PALETTE,
        words=tables.WORDS,
        share=tables.as_share,
        index=lambda value: tables.as_alpha(value, None),
        **shown,
    )


def _rounded(value: Any) -> Any:
    """The same data with fractions to five digits, more than a screen can show."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return value


def _name(model: str) -> str:
    return PurePath(model).name or model


def _layer(layer: Layer, doc: MeasurementDocument, points: int) -> dict[str, Any]:
    """What the page knows of a layer: kept shares listed in the order of eps."""
    eps = doc.settings.eps
    data = layer.model_dump(exclude_none=True)
    for name in ("curves", "hill_plot", "tail_plot"):
        if name in data:
            data[name] = _thinned(data[name], points)
    data["kappa"] = {
        granularity: [layer.kept(granularity, value) for value in eps]
        for granularity in tables.GRANULARITIES
        if layer.kappa.get(granularity)
    }
    allocations = [at_eps(doc.overall.allocation, value) for value in eps]
    shares = [found and found.layers.get(layer.name) for found in allocations]
    if any(shares):
        data["allocation"] = {
            rule: [getattr(share, rule, None) for share in shares] for rule in RULES
        }
    return data


def _thinned(series: dict[str, Any], points: int) -> dict[str, Any]:
    """The series with at most so many points, evenly chosen, both ends among them."""
    length = max(map(len, series.values()))
    if length <= points:
        return series
    chosen = [round(place * (length - 1) / (points - 1)) for place in range(points)]
    return {
        key: [values[place] for place in chosen] if len(values) == length else values
        for key, values in series.items()
    }


def _comparison(comparison: Comparison, doc: MeasurementDocument) -> dict[str, Any]:
    data = comparison.model_dump(exclude={"only_in_model", "only_in_against"})
    for found, layer in zip(data["layers"], comparison.layers, strict=True):
        found["kappa_weight"] = [at_eps(layer.kappa_weight, eps) for eps in doc.settings.eps]
    return data


def _history(name: str, doc: TrajectoryDocument) -> dict[str, Any]:
    """One layer along the checkpoints; None where a checkpoint lacks it."""
    found = [point.layers.get(name) for point in doc.trajectory]
    return {
        "name": name,
        "alpha": [layer and layer.alpha for layer in found],
        "alpha_stderr": [layer and layer.alpha_stderr for layer in found],
        "verdict": [layer and layer.verdict for layer in found],
        "kappa": [
            [layer and at_eps(layer.kappa_weight, float(eps)) for layer in found] for eps in doc.eps
        ],
    }
