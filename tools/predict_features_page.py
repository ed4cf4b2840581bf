"""The page and the figures of the study of risks on random and on real features."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prunable.predict.figures import COLORS, draw_line, risk_figure, save
from prunable.predict.tables import LABELS
from prunable.report.figures import PALETTE, SIZE, STYLE, space_ticks
from prunable.report.tables import Column, table

Document = dict[str, Any]
MODELS = tuple(LABELS)
BUCKETS = (0.0, 0.4, 0.5, 0.7, 1.0, 1000.0)
# With fewer examples the moments themselves are poor.
FEW = 1500
IN_FULL = ("mnist", "ecg5000", "fashion-mnist", "digits", "network", "network-small-n")

PAGE = """\
# Predicted risks on features, held against the truth

Errors are 100 (predicted / measured - 1) percent of the mean risk, noise included. Made by \
`tools/predict_features_study.py`; how it works: [predict-features.md](../predict-features.md).

## Random features of Gaussian inputs

ReLU features of Gaussian inputs, target (beta . a)^2, weights N(0, 1); {small} (n = 200) or \
{large} first layers, {repeats} training sets each, exact population risks. Prediction and \
simulation share their first layers; ± is one standard error.

Median of the absolute error over n, p/n and s/n, and the largest, by number of inputs:

{by_inputs}
The same by width, over all d:

{by_width}
At p = 3 n and s = 0.3 n:

{cut}
![Errors against the number of inputs](rf-errors.svg)

The setting of the 2020 paper's Fig. 2 (d = 10, n = 200):

![Risk against width](rf-curve.svg)

### Where the error comes from

At n = 100 and p = 300, the equivalent Gaussian problem was simulated too. `law` is the \
prediction against that, `features` is that against true features.

{causes}
### Other nonlinearities and targets

d = 20, n = 100, p = 300, s = 30, weights N(0, 1/d).

{others}
## Real features

One-against-rest regression, risks summed over classes; moments from 70 % of the examples, the \
truth from 12 training sets out of these, tested on the other 30 %. `spread` says how unequal the \
examples are: 0 for Gaussian features.

Absolute error over widths and numbers kept: median / largest, against the mean over training \
sets / median, against their median.

{real}
By spread, over all points of the table but those with fewer than 1,500 examples, against the \
mean / the median over training sets:

{by_spread}
![MNIST](features-mnist.svg)

![ECG5000](features-ecg5000.svg)

### Point by point

Predicted risk / mean / median over training sets:

{points}"""


def to_markdown(document: Document) -> str:
    """Write what the study measured as Markdown."""
    settings, cells, real = document["settings"], document["cells"], document["real"]
    return PAGE.format(
        small=settings["draws"][0],
        large=settings["draws"][1],
        repeats=settings["repeats"],
        by_inputs=_by("d", "d", cells),
        by_width=_by("p/n", "p_over_n", cells),
        cut=_cut(cells),
        causes=_causes(document["causes"]),
        others=_others(document["others"]),
        real=_real(real),
        by_spread=_by_spread(real),
        points=_points(real),
    )


def save_figures(document: Document, folder: Path) -> list[Path]:
    """Write the figures of the study as SVG files."""
    real = document["real"]
    figures = {
        "rf-curve": curve_figure(document["curve"]),
        "rf-errors": error_figure(document["cells"]),
        **{
            f"features-{name}": risk_figure(
                real[name]["points"], f"{real[name]['label']}, n = {real[name]['n']}"
            )
            for name in ("mnist", "ecg5000")
        },
    }
    for name, drawn in figures.items():
        save(drawn, folder / f"{name}.svg")
    return [folder / f"{name}.svg" for name in figures]


def curve_figure(curve: Document) -> Figure:
    """Draw risk against width for random features, retrained on fresh and on the same data."""
    shares = [point["s_over_n"] for point in curve["rows"][0]["points"]]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(2 * SIZE[0], SIZE[1]), layout="constrained")
        panels = ("retrained", "retrained_same_data")
        axes = drawn.subplots(1, 2, sharey=True)
        for ax, model in zip(axes, panels, strict=True):
            _draw_curve(ax, curve, "dense", 0, PALETTE[0], "dense")
            for i, (share, color) in enumerate(zip(shares, PALETTE[1:], strict=False)):
                _draw_curve(ax, curve, model, i, color, f"s/n = {share:g}")
            ax.axvline(curve["n"], color="#8a8a8a", linestyle=":", linewidth=1)
            ax.set(title=LABELS[model], xscale="log", yscale="log", xlabel="random features p")
        axes[0].set_ylabel("risk, noise included")
        axes[0].set_ylim(0.2, 8)
        for axis in (axes[0].yaxis, *(ax.xaxis for ax in axes)):
            space_ticks(axis)
        axes[1].legend(fontsize=8)
    return drawn


def error_figure(cells: Sequence[Document]) -> Figure:
    """Draw the error of predictions against the number of inputs, at p = 3 n and s = 0.3 n."""
    examples = sorted({cell["n"] for cell in cells})
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(4.0 * len(examples), SIZE[1]), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(examples), sharey=True))
        for ax, n in zip(axes, examples, strict=True):
            rows = [cell for cell in _middle(cells) if cell["n"] == n]
            for model, label in LABELS.items():
                ax.errorbar(
                    [row["d"] for row in rows],
                    [row["error_percent"][model] for row in rows],
                    yerr=[row["stderr_percent"][model] for row in rows],
                    color=COLORS[model],
                    label=label,
                    marker="o",
                    ms=3,
                    capsize=2,
                )
            ax.axhline(0, color="#8a8a8a", linewidth=1)
            ax.set(title=f"n = {n}, p = {3 * n}", xscale="log", xlabel="inputs d")
            space_ticks(ax.xaxis)
        axes[0].set_ylabel("predicted over simulated, %")
        axes[-1].legend(fontsize=8)
    return drawn


def _draw_curve(ax: Axes, curve: Document, model: str, place: int, color: str, label: str) -> None:
    keys = ("predicted", "simulated", "simulated_stderr")
    rows = [
        {"p": row["p"], **{key: row["points"][place][key][model] for key in keys}}
        for row in curve["rows"]
    ]
    draw_line(ax, rows, "p", color, label)


def _markdown(titles: Iterable[str | Column], rows: Iterable[Sequence[str]]) -> str:
    return table([*titles, *LABELS.values()], rows).markdown()


def _middle(cells: Iterable[Document]) -> list[Document]:
    return [c for c in cells if c["p_over_n"] == 3 and abs(c["s_over_n"] - 0.3) < 0.02]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


def _by(title: str, key: str, cells: list[Document]) -> str:
    rows = []
    for value in sorted({cell[key] for cell in cells}):
        chosen = [cell for cell in cells if cell[key] == value]
        row = [f"{value:g}"]
        for model in MODELS:
            errors = np.abs([cell["error_percent"][model] for cell in chosen])
            row.append(f"{np.median(errors):.1f} / {errors.max():.1f} %")
        rows.append(row)
    return _markdown([title], rows)


def _cut(cells: list[Document]) -> str:
    return _markdown(
        ["d", "n"],
        [
            [
                str(cell["d"]),
                str(cell["n"]),
                *(
                    f"{cell['error_percent'][m]:+.1f} ± {cell['stderr_percent'][m]:.1f} %"
                    for m in MODELS
                ),
            ]
            for cell in _middle(cells)
        ],
    )


def _causes(causes: list[Document]) -> str:
    return _markdown(
        ["d", "s", Column("", words=True)],
        [
            [str(cause["d"]), str(point["s"]), part, *(_percent(point[part][m]) for m in MODELS)]
            for cause in causes
            for point in cause["points"]
            for part in ("law", "features", "together")
        ],
    )


def _others(others: list[Document]) -> str:
    return _markdown(
        ["features", Column("target", words=True)],
        [
            [one["activation"], one["link"], *(_percent(one["error_percent"][m]) for m in MODELS)]
            for one in others
        ],
    )


def _real(real: dict[str, Document]) -> str:
    keys = ("median_absolute", "largest_absolute", "median_absolute_of_median")
    rows = []
    for part in real.values():
        found = (part["errors"].get(model) for model in MODELS)
        rows.append(
            [
                part["label"],
                f"{part['examples']:,}",
                str(part["features"]),
                str(part["n"]),
                f"{min(part['spreads']):.2f} to {max(part['spreads']):.2f}",
                f"{part['shrinkage']:.2g}",
                *(" / ".join(f"{e[k]:.1f}" for k in keys) + " %" if e else "" for e in found),
            ]
        )
    return _markdown(["data", "examples", "p", "n", "spread", "shrinkage"], rows)


def _by_spread(real: dict[str, Document]) -> str:
    points = [
        point for part in real.values() if part["examples"] >= FEW for point in part["points"]
    ]
    rows = []
    for low, high in itertools.pairwise(BUCKETS):
        chosen = [point for point in points if low <= point["spread"] < high]
        if not chosen:
            continue
        name = f"{low:g} to {high:g}" if high < 100 else f"above {low:g}"
        row = [name, str(len(chosen))]
        for model in MODELS:
            found = [
                [abs(point[key][model]) for point in chosen if point[key].get(model) is not None]
                for key in ("error_percent", "error_percent_of_median")
            ]
            row.append(" / ".join(f"{np.median(e):.1f}" if e else "" for e in found) + " %")
        rows.append(row)
    return _markdown(["spread", "points"], rows)


def _points(real: dict[str, Document]) -> str:
    rows = []
    for part in (real[name] for name in IN_FULL):
        for point in part["points"]:
            row = [part["label"], str(point["width"]), str(point["s"]), f"{point['spread']:.2f}"]
            for model in MODELS:
                values = [point[key].get(model) for key in ("risk", "measured", "measured_median")]
                known = values[0] is not None and values[1] is not None
                row.append(" / ".join(f"{x:.3g}" for x in values) if known else "")
            rows.append(row)
    return _markdown(["data", "width", "s", "spread"], rows)
