"""Figure 1: a few columns of large norm carry the matrix, so that the others can go."""

import math

import numpy as np

from prunable.experiments.reproduce import checks, ordering
from prunable.experiments.reproduce.checks import percent
from prunable.experiments.reproduce.document import Check, Convention, Panel, Scale, Series
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import band, series
from prunable.papers.wan2023.claims import PUBLISHED, RATIO, label_of
from prunable.papers.wan2023.ecg import rows_of
from prunable.papers.wan2023.noise_level import law_runs
from prunable.papers.wan2023.settings import ALPHAS, ecg_runs, ecg_setting, level_words
from prunable.papers.wan2023.specs import TwoLayerPruneSpec

WIDTH, NOISE = 2000, "type1"
CONDITIONS = ("none", *(f"{NOISE}-{alpha:g}" for alpha in ALPHAS))
ROWS = rows_of(1)
FAR = 0.001
# Norm that one column in a thousand exceeds, over the median.
FAR_WITH_NOISE, FAR_WITHOUT = 3.0, 2.0
TOP_SHARE = "top_share"


def plan_of(scale: Scale, convention: Convention) -> Plan:
    """Runs of table 1."""
    setting = ecg_setting(WIDTH, scale)
    laws = law_runs(NOISE, scale)
    own = {key: laws[key] for key in laws if key.startswith(f"law-{WIDTH}-")}
    return Plan(
        scale,
        convention,
        {**ecg_runs(WIDTH, NOISE, scale), **own},
        setting.summary(level_words(NOISE, convention)),
        (
            "The figure is a sketch without numbers: a network, its weight matrix with a few "
            "large columns, the matrix after pruning. Here its three statements are measured on "
            "the networks of table 1, whose printed pruned shares stand beside ours.",
        ),
    )


def _panels(found: Found) -> tuple[Panel, ...]:
    known = [condition for condition in CONDITIONS if found.results_of(condition)]
    top = [(float(place), found.of(name, TOP_SHARE)) for place, name in enumerate(known)]
    labels = tuple(map(label_of, known))
    return (
        Panel(
            "A few columns have far larger norms",
            "norm of a column",
            "share of columns above",
            tuple(_tail(found, condition) for condition in known),
            x_log=True,
            y_log=True,
        ),
        Panel(
            "They carry most of the matrix",
            "tail index alpha",
            "squared norm in 1 % of columns",
            (series("1 % of the columns", top, style="bars", labels=labels),),
        ),
        Panel(
            "So the others can be removed",
            "relative Frobenius error",
            "share of columns kept",
            tuple(_kept(found, condition) for condition in known),
        ),
        _pruned(found, known),
    )


def _pruned(found: Found, known: list[str]) -> Panel:
    """Shares of table 1, beside the printed ones."""
    printed = PUBLISHED["table1"]
    names = ["none" if name == "none" else label_of(name) for name in known]
    ours = [(float(place), found.of(name, RATIO)) for place, name in enumerate(known)]
    cells = [printed.cell(name, RATIO) for name in names]
    paper = Series(
        "paper, table 1",
        tuple(map(float, range(len(known)))),
        tuple(cell.mean for cell in cells),
        tuple(cell.std or 0.0 for cell in cells),
        style="published",
    )
    bars = series("ours, table 1", ours, style="bars", labels=tuple(map(label_of, known)))
    return Panel(
        "Pruned at a squared error of 0.1 (table 1)",
        "tail index alpha",
        "share of columns pruned",
        (bars, paper),
    )


def _far_longer(found: Found) -> Check:
    statement = (
        f"One column in a thousand is at least {FAR_WITH_NOISE:g} times as long as the median "
        f"with noise, and less than {FAR_WITHOUT:g} times without"
    )
    if not all(map(found.results_of, CONDITIONS)):
        return checks.undecided(statement)
    spread = {condition: _spread(found, condition) for condition in CONDITIONS}
    text = ", ".join(f"{label_of(name)}: {value:.2f}" for name, value in spread.items())
    plain = spread.pop("none")
    holds = plain < FAR_WITHOUT and min(spread.values()) >= FAR_WITH_NOISE
    return Check(statement, holds, text)


def _shares_grow(found: Found) -> Check:
    return ordering.rises(
        "The share of the squared norm in 1 % of the columns grows from no noise over alpha "
        "= 1.9 and 1.8 to 1.75",
        {label_of(condition): found.of(condition, TOP_SHARE) for condition in CONDITIONS},
    )


def _fewer_kept(found: Found) -> Check:
    frames = {condition: found.of(condition, RATIO) for condition in CONDITIONS}
    text = ", ".join(
        f"{label_of(name)}: {percent(None if frame.mean is None else 1 - frame.mean)}"
        for name, frame in frames.items()
    )
    plain = frames.pop("none")
    return checks.exceeds(
        "At a squared error of 0.1 fewer columns are kept with noise than without",
        [(frame, plain) for frame in frames.values()],
        text,
    )


def _spec(found: Found) -> TwoLayerPruneSpec:
    spec = next(iter(found.plan.runs.values()))
    assert isinstance(spec, TwoLayerPruneSpec)
    return spec


def _exceeding(found: Found, condition: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the histogram but the last, and the share of columns above, over all runs."""
    spec = _spec(found)
    edges = np.logspace(*spec.norm_decades, spec.norm_bins + 1)
    rows = [result["norm_counts"] for result in found.results_of(condition).values()]
    counts = np.sum(rows, axis=0)
    return edges[:-1], np.asarray(counts[::-1].cumsum()[::-1] / counts.sum())


def _tail(found: Found, condition: str) -> Series:
    """Mean over runs of the share above each norm, with its deviation, while any run has some."""
    edges, shares = _exceeding(found, condition)
    rows = [result["norm_counts"] for result in found.results_of(condition).values()]
    each = [np.cumsum(counts[::-1])[::-1] / np.sum(counts) for counts in rows]
    shown = shares > 0
    curves = [row[shown].tolist() for row in each]
    runs = found.of(condition, RATIO).runs
    return band(label_of(condition), edges[shown].tolist(), curves, runs)


def _kept(found: Found, condition: str) -> Series:
    rows = [result["kappa"] for result in found.results_of(condition).values()]
    return band(label_of(condition), _spec(found).eps, rows, found.of(condition, RATIO).runs)


def _spread(found: Found, condition: str) -> float:
    """Norm that one column in a thousand exceeds, over the median, up to a bin's width."""
    edges, shares = _exceeding(found, condition)
    far, middle = (edges[np.flatnonzero(shares >= share)[-1]] for share in (FAR, 0.5))
    return math.exp(math.log(far) - math.log(middle))


ITEMS = (
    Item.of(
        "wan2023",
        "Figure 1",
        "Why heavy-tailed columns can be pruned: norms, their shares, what is left",
        "With heavy-tailed noise a few columns have far larger norms than the others and carry "
        "most of the matrix, so that the majority can be removed.",
        plan_of,
        Gather(
            (),
            (_panels,),
            (_far_longer, _shares_grow, _fewer_kept, ROWS.near_without_noise, ROWS.agree),
        ),
    ),
)
