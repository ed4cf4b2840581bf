"""A forecast in words and lines: the table of its curves, the figure, the page."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from prunable.files import write_bytes, write_text
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg, legend_below
from prunable.report.pages import render
from prunable.report.tables import Column, Table, as_number, as_percent, table

Document = dict[str, Any]
MARKERS = "osD^vP*X"
LEAST = 1e-12  # error whose logarithm is taken
LARGEST = 30.0  # log-perplexity that is shown as a perplexity


def forecast_tables(document: Document) -> list[Table]:
    """What is told: curves and checks, or without inputs ways and layers by what they do."""
    if document["inputs"]:
        return [forecast_table(document), checks_table(document)]
    return [_ranking_table(document), _effects_table(document)]


def _ranking_table(document: Document) -> Table:
    """A line for each share, the ways by what they do to the outputs of Gaussian inputs."""
    curves = _by_error(document["curves"])
    found = [{p["kappa"]: p["output_error"] for p in curve["points"]} for curve in curves]
    shares = sorted({kappa for errors in found for kappa in errors}, reverse=True)
    rows = [
        [as_percent(share, 1), *(as_number(e[share]) if share in e else "–" for e in found)]
        for share in shares
    ]
    notes = [f"{x['method']} left out: {x['reason']}" for x in document["skipped"]]
    notes += [
        "Relative errors of outputs for Gaussian inputs, growing and shrinking as a whole aside; "
        "the ways that do least first. What accuracy they leave only inputs can tell."
    ]
    return table(["keep %", *map(name_of, curves)], rows, title=title_of(document), notes=notes)


def _by_error(curves: Sequence[Document]) -> list[Document]:
    """Curves by their errors relative to the mean at the same shares, which not all curves have."""
    found = [
        {p["kappa"]: math.log(max(p["output_error"], LEAST)) for p in c["points"]} for c in curves
    ]
    shares = {kappa for logs in found for kappa in logs}
    mean = {k: fmean(logs[k] for logs in found if k in logs) for k in shares}
    places = [fmean(log - mean[k] for k, log in logs.items()) for logs in found]
    return [curves[i] for i in sorted(range(len(curves)), key=places.__getitem__)]


def _effects_table(document: Document) -> Table:
    rows = [
        (x["name"], as_number(x["output_error"]), as_number(x["error"])) for x in document["layers"]
    ]
    titles = (Column("layer", words=True, code=True), "error of outputs", "of its own")
    return table(titles, rows, title="Half of the weights of one layer pruned")


def forecast_table(document: Document) -> Table:
    """A line for each way and share: accuracy to expect, its interval, what is left."""
    if document["kind"] == "language":
        return _perplexity_table(document)
    known = document["accuracy"] is not None
    titles: list[str | Column] = [Column("way", words=True), "keep %", "numbers left %"]
    titles += ["accuracy %", f"{document['level']:.0%} interval", "loss, points"] if known else []
    titles += ["decisions kept %"]
    rows = []
    for curve in document["curves"]:
        for point in curve["points"]:
            row = [name_of(curve), as_percent(point["kappa"], 1), as_percent(point["parameters"])]
            if known:
                between = f"{as_percent(point['low'])} to {as_percent(point['high'])}"
                row += [as_percent(point["accuracy"]), between, as_percent(point["loss"])]
            rows.append([*row, as_percent(point["retention"])])
    return table(titles, rows, title=title_of(document), notes=notes_of(document))


def _perplexity_table(document: Document) -> Table:
    spare = ("likeliest tokens kept %", "log-perplexity", "by tokens", "by laws")
    likeliest, nats, *by = (Column(title, spare=place) for place, title in enumerate(spare, 1))
    titles: list[str | Column] = [Column("way", words=True), "keep %", "perplexity"]
    titles += [f"{document['level']:.0%} interval", nats, *reversed(by), likeliest]
    rows = []
    for curve in document["curves"]:
        for point in curve["points"]:
            each = [point[key] for key in ("accuracy", "laws", "tokens")]
            between = "–"
            if point["low"] is not None:
                between = " to ".join(_exponential(point[key]) for key in ("low", "high"))
            row = [name_of(curve), as_percent(point["kappa"], 1), _exponential(each[0]), between]
            row += ["–" if x is None else f"{x:.3f}" for x in each]
            rows.append([*row, as_percent(point["retention"])])
    return table(titles, rows, title=title_of(document), notes=notes_of(document))


def _exponential(nats: float | None) -> str:
    if nats is None:
        return "–"
    return f"{math.exp(nats):,.2f}" if nats < LARGEST else f"over {math.exp(LARGEST):.0e}"


def checks_table(document: Document) -> Table:
    """What the forecast assumes, and whether the inputs contradict it."""
    rows = [(c["name"], "holds" if c["passed"] else "FAILS", c["text"]) for c in document["checks"]]
    words = [Column(name, words=True) for name in ("assumed", "check", "seen")]
    return table(words, rows, title="Checks")


def advice_lines(document: Document) -> list[str]:
    """The verdict, why, and what to do."""
    lines = [f"{document['verdict']}  {document['said']}", *_doubts(document)]
    if document["command"] is not None:
        lines += [f"The plan is {document['plan']}.", f"Next: {document['command']}"]
    return lines


def _doubts(advice: Document) -> list[str]:
    """Checks of its forecast that failed."""
    failed = [check for check in advice["forecast"]["checks"] if not check["passed"]]
    return [f"doubtful: {check['name']}: {check['text']}" for check in failed]


def layers_table(document: Document) -> Table:
    """Which layer pays: what is kept of each, and its share of all that goes."""
    layers = document["layers"]
    sizes = [layer["shape"][0] * layer["shape"][1] for layer in layers]
    gone = [n * (1 - x["kappa"]) for n, x in zip(sizes, layers, strict=True)]
    whole = sum(gone) or 1.0
    rows = [
        (x["name"], f"{n:,}", as_percent(x["kappa"]), as_percent(g / whole), as_number(x["eps"]))
        for x, n, g in zip(layers, sizes, gone, strict=True)
    ]
    name = Column("layer", words=True, code=True)
    titles = (name, "weights", "kept %", "of all that go %", "relative error")
    return table(titles, rows, title="Which layer pays")


def outcome_table(document: Document) -> Table:
    """Forecast beside outcome."""
    rows = [
        ("accuracy, %", as_percent(document["forecast"]), as_percent(document["accuracy"])),
        ("loss, points", as_percent(document["forecast_loss"], 2), as_percent(document["loss"], 2)),
    ]
    between = f"{as_percent(document['loss_low'], 2)} to {as_percent(document['loss_high'], 2)}"
    notes = [
        f"{document['verdict']}: the loss is {between} points on {document['inputs']:,} inputs; "
        f"{as_percent(document['at_most_loss'], 2)} points are allowed. The forecast's interval "
        f"{'holds' if document['covered'] else 'misses'} the accuracy, with the dense network's as "
        "known."
    ]
    titles = (Column("of the network", words=True), "forecast", "outcome")
    return table(titles, rows, title="Check", notes=notes)


def title_of(document: Document) -> str:
    """What is forecast, and from what."""
    known = document["accuracy"]
    if document["kind"] == "language":
        said = "no perplexity known" if known is None else f"dense perplexity {math.exp(known):.2f}"
        return f"{document['model']}: {said}, {document['inputs']:,} windows"
    if not document["inputs"]:
        return f"{document['model']}: ways and layers by what they do to outputs, no inputs"
    said = "no accuracy known" if known is None else f"dense accuracy {known:.1%}"
    quick = ", a handful of them a copy" if document.get("speed") == "propagated" else ""
    return f"{document['model']}: {said}, {document['inputs']:,} inputs{quick}"


def notes_of(document: Document) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    notes = [f"{x['method']} left out: {x['reason']}" for x in document["skipped"]]
    if document["kind"] == "language":
        return (*notes, "Windows are taken to be drawn like the text to come.")
    assumed = (
        "Inputs are taken to be drawn like those to come, and the network's confidence to order "
        "them rightly."
    )
    return (*notes, assumed)


def name_of(curve: Document) -> str:
    """METHOD/ALLOCATION, or the pattern."""
    method = str(curve["method"])
    return method if ":" in method else f"{method}/{curve['allocation']}"


def forecast_figure(
    document: Document, chosen: Document | None = None, *, width: float = SIZE[0], title: str = ""
) -> Figure:
    """Curves of all ways with bands of their intervals; a ring around the chosen point.

    width : In inches; at 4 it is legible on a phone.
    """
    known = document["accuracy"] is not None
    keys = (
        ("accuracy", "low", "high") if known else ("retention", "retention_low", "retention_high")
    )
    words = document["kind"] == "language" and known
    unit = 1 if words else 100
    figure_of = "expected log-perplexity (nats a token)" if words else "expected accuracy (%)"
    unseen = "decisions kept (%)"
    if not document["inputs"]:
        keys, unit, unseen = ("output_error",) * 3, 1, "relative error of outputs"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 5.0), layout="constrained")
        axes = figure.add_subplot()
        for place, curve in enumerate(document["curves"]):
            colour = PALETTE[1 + place % (len(PALETTE) - 1)]
            x = [point["kappa"] for point in curve["points"]]
            y, low, high = ([unit * point[key] for point in curve["points"]] for key in keys)
            mark = MARKERS[place % len(MARKERS)]
            axes.plot(x, y, color=colour, marker=mark, markersize=4, label=name_of(curve))
            if len(x) > 1:
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            else:
                axes.errorbar(x, y, [[y[0] - low[0]], [high[0] - y[0]]], color=colour, capsize=3)
        if known:
            axes.axhline(unit * document["accuracy"], color=PALETTE[0], linewidth=1, label="dense")
        if chosen is not None:
            at = 100 * chosen["accuracy"]
            axes.plot([chosen["kappa"]], [at], "o", ms=14, mfc="none", mec=PALETTE[0])
        axes.set_xscale("log")
        ticks = sorted({p["kappa"] for curve in document["curves"] for p in curve["points"]})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9, rotation=90)
        axes.minorticks_off()
        axes.set(
            xlabel="kappa: share kept of weights, or of units",
            ylabel=figure_of if known else unseen,
            title=textwrap.fill(title, int(10 * width)),
        )
        legend_below(figure, axes)
    return figure


def write_figure(document: Document, path: Path | str, chosen: Document | None = None) -> None:
    """Write `forecast_figure` as SVG."""
    write_bytes(path, as_svg(forecast_figure(document, chosen, title=title_of(document))))


def write_page(
    document: Document,
    path: Path | str,
    *,
    advice: Document | None = None,
    more: tuple[Table, ...] = (),
    made_by: str = "",
) -> None:
    """Write one page: the advice if there is one, the curves, the tables, the checks."""
    chosen = None if advice is None else advice["chosen"]
    # two, for a page and for a phone; their parts need names of their own
    drawn = [
        as_svg(forecast_figure(document, chosen, width=width), salt).decode()
        for width, salt in ((4.0, "narrow"), (8.0, "broad"))
    ]
    tables = [*more, *forecast_tables(document)]
    page = render(
        "forecast.html.j2",
        made_by=made_by,
        title=f"What pruning costs {Path(document['model']).name}",
        said=[] if advice is None else [advice["verdict"], advice["said"], *_doubts(advice)],
        next="" if advice is None else advice["command"] or "",
        figures=[Markup(text[text.index("<svg") :]) for text in drawn],
        tables=[(part.title, replace(part, title="")) for part in tables],
    )
    write_text(path, page)
