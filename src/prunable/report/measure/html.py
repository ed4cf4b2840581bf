"""An HTML page, with interactive charts, out of a measurement."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from prunable.files import write_text
from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import Comparison, Measurement, Trajectory
from prunable.numerics.measure.options import eps_key
from prunable.report import pages
from prunable.report.measure import tables
from prunable.report.measure.advice import advice, course_advice
from prunable.report.tables import Table, as_number, as_share
from prunable.results import as_plain

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
OVERALL = (
    "Weights kept, in %. Left: every layer by itself, or all weights as one vector, within eps. "
    "Right: the same bound on the layers' summed squared relative errors, spent in three ways."
)
CHECKPOINTS = "One row a checkpoint; kept weights in %, at each eps"


def render_measurement(doc: Measurement, **page: Any) -> str:
    """Render the page of one network; it loads nothing from elsewhere.

    Whatever comes from the document is escaped. `page` has what `write_measurement` adds.
    """
    points = max(24, min(CURVE_POINTS, PAGE_POINTS // max(1, len(doc.layers))))
    settings = doc.settings
    data = {
        "eps": [eps_key(eps) for eps in settings.eps],
        "middle": settings.eps.index(settings.middle_eps),
        "methods": METHODS,
        "granularities": tables.GRANULARITIES,
        "rules": RULES,
        "layers": [_layer(layer, doc, points) for layer in doc.layers],
        "comparison": doc.comparison and _comparison(doc.comparison, doc),
    }
    kept = doc.overall.allocation.get(eps_key(settings.middle_eps))
    return _render(
        doc,
        data,
        page,
        title=f"How prunable is {PurePath(doc.model).name or doc.model}",
        overall=tables.overall_table(doc),
        caption=OVERALL,
        lines=[*tables.overall_lines(doc), *advice(doc)],
        middle=eps_key(settings.middle_eps),
        kept=kept,
        reasons=Counter(skipped.reason for skipped in doc.skipped).most_common(),
        points=points,
        settings={
            "relative errors, eps": ", ".join(map(eps_key, settings.eps)),
            "order of the norm, p": as_number(settings.p),
            "seed": settings.seed,
            "singular values": settings.spectrum,
            "the 2021 paper's tail index": "yes" if settings.authors else "no",
        },
    )


def render_trajectory(doc: Trajectory, **page: Any) -> str:
    """Render the page of several checkpoints; see `render_measurement`."""
    eps = doc.eps
    data = {
        "eps": eps,
        "middle": len(eps) // 2,
        "steps": [point.step for point in doc.trajectory],
        "alpha_mean": [point.alpha_mean for point in doc.trajectory],
        "kappa": [[point.kappa.get(key) for point in doc.trajectory] for key in eps],
        "layers": [_history(name, doc) for name in doc.layer_names],
    }
    return _render(
        doc,
        data,
        page,
        title="How prunability changes along the training",
        overall=tables.trajectory_table(doc),
        caption=CHECKPOINTS,
        lines=course_advice(doc),
        middle=eps[len(eps) // 2] if eps else "",
    )


def write_measurement(
    doc: Measurement | Trajectory, path: Path | str, *, made_by: str = "", shared: bool = False
) -> None:
    """Write the page of either result atomically; see `render_measurement`.

    made_by : The command that made it, shown to be copied.
    shared : The chart library lies beside the page, once for all pages of the folder, else in it.
    """
    page = {"made_by": made_by, "plotly_file": pages.share_library(path) if shared else ""}
    render = render_trajectory if isinstance(doc, Trajectory) else render_measurement
    write_text(path, render(doc, **page))  # type: ignore[arg-type]


def page_in(folder: Path | str, models: Sequence[Path | str]) -> Path:
    """Where the page of these checkpoints lies in a folder of pages."""
    stems = dict.fromkeys(Path(model).stem for model in (models[0], models[-1]))
    return Path(folder) / f"{'-to-'.join(stems)}.html"


def _render(
    doc: Measurement | Trajectory, data: Any, page: dict[str, Any], *, overall: Table, **shown: Any
) -> str:
    return pages.render(
        "measure.html.j2",
        doc=doc,
        trajectory=isinstance(doc, Trajectory),
        data=_rounded(as_plain(data)),
        overall=replace(overall, title="", notes=()),
        share=as_share,
        index=tables.as_alpha,
        **shown,
        **page,
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


def _layer(layer: MeasuredLayer, doc: Measurement, points: int) -> dict[str, Any]:
    """What the page knows of a layer: kept shares listed in the order of eps."""
    eps = doc.settings.eps
    data = {key: value for key, value in layer.to_dict().items() if value is not None}
    for name in ("curves", "hill_plot", "tail_plot"):
        if name in data:
            series = {key: values for key, values in data[name].items() if values is not None}
            data[name] = _thinned(series, points)
    data["kappa"] = {
        granularity: [layer.kept(granularity, value) for value in eps]
        for granularity in tables.GRANULARITIES
        if layer.kappa.get(granularity)
    }
    found = [doc.overall.allocation.get(eps_key(value)) for value in eps]
    shares = [at and at.layers.get(layer.name) for at in found]
    if any(shares):
        data["allocation"] = {rule: [at and at.get(rule) for at in shares] for rule in RULES}
    return data


def _thinned(series: dict[str, Any], points: int) -> dict[str, Any]:
    """The series with at most so many points, evenly chosen, both ends among them."""
    length = max(map(len, series.values()), default=0)
    if length <= points:
        return series
    chosen = [round(place * (length - 1) / (points - 1)) for place in range(points)]
    return {
        key: [values[place] for place in chosen] if len(values) == length else values
        for key, values in series.items()
    }


def _comparison(comparison: Comparison, doc: Measurement) -> dict[str, Any]:
    keys = [eps_key(eps) for eps in doc.settings.eps]
    return {
        "against": comparison.against,
        "layers": [
            as_plain(layer) | {"kappa_weight": [layer.kappa_weight.get(key) for key in keys]}
            for layer in comparison.layers
        ],
    }


def _history(name: str, doc: Trajectory) -> dict[str, Any]:
    """One layer along the checkpoints; None where a checkpoint lacks it."""
    found = [point.layers.get(name) for point in doc.trajectory]
    return {
        "name": name,
        "alpha": [layer and layer.alpha for layer in found],
        "alpha_stderr": [layer and layer.alpha_stderr for layer in found],
        "verdict": [layer and layer.verdict for layer in found],
        "kappa": [[layer and layer.kappa_weight.get(key) for layer in found] for key in doc.eps],
    }
