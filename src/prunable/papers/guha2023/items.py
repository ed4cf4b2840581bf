"""Tables 1 and 2 and figures 1 and 2: bounds beside each other, by width, strength and epoch."""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    Convention,
    Panel,
    Series,
    Table,
    Value,
)
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.tables import series
from prunable.papers import published
from prunable.papers.guha2023 import claims
from prunable.papers.guha2023.found import LABELS, PAPER, ROWS, Bounds, cell_of, measure, width_of
from prunable.papers.guha2023.settings import plan_of
from prunable.papers.guha2023.specs import MarginPruneSpec

PRINTED, RATES = (*ROWS, "true_error"), (*ROWS, "counting")


AS_PRINTED = (
    "Natural logarithms as printed: raw capacities of others, the new bound, the true error"
)


def _by_width(title: str, names: Sequence[str], rate: bool, bounds: Bounds) -> Table:
    rows = tuple(
        (Cell(LABELS[name]), *(bounds.cell(width, name, rate=rate) for width in bounds.widths))
        for name in _shown(names, bounds)
    )
    first = Column("method", "natural logarithm")
    return Table(title, (first, *map(_width_column, bounds.widths)), rows)


def _shown(names: Sequence[str], bounds: Bounds) -> Iterator[str]:
    """The rows, and beside Bartlett 2017 the reading that the tables print, if another."""
    for name in names:
        yield name
        if name == "bartlett2017" != bounds.printed_bartlett:
            yield bounds.printed_bartlett


def _width_column(width: int) -> Column:
    return Column(str(width), f"width {width}", digits=2)


def _with_constants(bounds: Bounds) -> Table | None:
    """Every method's own bound on the risk, over the networks of each width."""
    logs: dict[str, dict[int, list[float]]] = {}
    runs: dict[int, tuple[str, ...]] = {}
    for network, part in bounds.parts("bounds"):
        width = width_of(network)
        runs[width] = runs.get(width, ()) + bounds.runs(network, " bounds")
        for bound in part["bounds"]:
            own = bound["variant"] in ("paper", "normalised")
            name = bound["name"] if own else f"{bound['name']} ({bound['variant']})"
            value = math.inf if bound["log_value"] is None else bound["log_value"]
            logs.setdefault(name, {}).setdefault(width, []).append(value)
    widths = sorted(runs)
    rows = [
        (Cell(name), *(cell_of(by.get(w, []), runs=runs[w]) for w in widths))
        for name, by in sorted(logs.items(), key=lambda row: _first_mean(row[1].values()))
    ]
    title = "Natural logarithms of bounds with all constants; below 0 one would say something"
    columns = (Column("name", "bound"), *map(_width_column, widths))
    return Table(title, columns, tuple(rows)) if rows else None


def _first_mean(values: Iterable[list[float]]) -> float:
    return statistics.fmean(next(iter(values)))


def _row(values: Iterable[Value], runs: tuple[str, ...]) -> tuple[Cell, ...]:
    return tuple(Cell(value, runs=runs) for value in values)


def _pruning(bounds: Bounds) -> Table | None:
    columns = (
        Column("network", "width/seed"),
        Column("margin", "smallest margin"),
        Column("d", "d"),
        Column("kept", "weights kept", "%", 2),
        Column("chi", "chi, expected", "%", 2),
        Column("train", "training error", "%", 2),
        Column("test", "test error", "%", 2),
        Column("pruned", "test error, pruned", "%", 2),
        Column("failure", "theorem 5.2 fails with", digits=2),
        Column("contraction", "contraction of the last layer", digits=2),
        Column("claimed", "as lemma C.1 claims", digits=2),
    )
    rows = []
    for network, row in bounds.networks():
        known, runs = bounds.published(width_of(network)), bounds.runs(network)
        strength, errors, last = row["strength"], row["errors"], row["layers"][-1]
        d, chi = (None, None) if known is None else (known.implied_d, known.implied_chi)
        rows.append(
            (
                *_row((network, row["margin"]["min"]), runs),
                Cell(strength["d"], published=d, runs=runs),
                Cell(row["kept"] / row["weights"], runs=runs),
                Cell(strength["chi"], published=chi, runs=runs),
                *_row((errors["train"], errors["test"], errors["pruned_test"]), runs),
                Cell(row["theorem"]["failure"], runs=runs),
                *_row((last["contraction"], last["contraction_claimed"]), runs),
            )
        )
    title = "The pruning that the smallest training margin allows"
    return Table(title, columns, tuple(rows)) if rows else None


def _at_strengths(bounds: Bounds) -> Table | None:
    """What pruning does at given strengths, beside what the lemmas allow for."""
    columns = (
        Column("network", "width/seed"),
        Column("d", "d"),
        Column("kept", "weights kept", digits=0),
        Column("margin", "smallest margin"),
        Column("needed", "margin needed"),
        Column("change", "largest change of logits"),
        Column("lines", "largest row or column / 3 d chi", digits=2),
        Column("errors", "largest spectral change / lemma 4.2", digits=2),
        Column("test", "test error, pruned", "%", 2),
    )
    names = ("needed", "change_norm", "line_ratio", "error_ratio", "test_error")
    rows = tuple(
        _row(
            (network, row["d"], row["kept"], part["min_margin"], *(row[name] for name in names)),
            bounds.runs(network, " strengths"),
        )
        for network, part in bounds.parts("strengths")
        for row in part["rows"]
    )
    return Table("Pruned at given strengths", columns, rows) if rows else None


def _published_alone(bounds: Bounds) -> Table | None:
    """The published rows as roots per example, and the pruning that they imply."""
    columns = (
        Column("width", "width", digits=0),
        *(Column(row, LABELS[row], digits=2) for row in RATES),
        Column("chi", "implied chi", "%", 1),
        Column("d", "implied d"),
    )
    rows = tuple(
        _row((c.width, *map(c.rate, ROWS), c.counting_rate, c.implied_chi, c.implied_d), ())
        for c in bounds.columns
    )
    title = "The published numbers as ln sqrt(capacity / n)"
    return Table(title, columns, rows) if rows else None


def _methods(title: str, names: Sequence[str], rate: bool, bounds: Bounds) -> Panel:
    shown: list[Series] = []
    names = tuple(_shown(names, bounds))
    for width in bounds.trained[:1]:
        cells = [bounds.cell(width, name, rate=rate) for name in names]
        known = [i for i, cell in enumerate(cells) if isinstance(cell.value, float)]
        stated = [(i, c.published) for i, c in enumerate(cells) if isinstance(c.published, float)]
        frames = [(float(i), bounds.logs(width, names[i], rate=rate)) for i in known]
        labels = tuple(LABELS[names[i]] for i in known)
        shown.append(series("networks trained here", frames, style="bars", labels=labels))
        if stated:
            places, values = zip(*stated, strict=True)
            shown.append(Series("published", tuple(map(float, places)), values, style="published"))
    return Panel(title, "method", "natural logarithm", tuple(shown))


def _widths(title: str, names: Sequence[str], rate: bool, bounds: Bounds) -> Panel:
    shown = []
    for name in _shown(names, bounds):
        frames = [(float(w), bounds.logs(w, name, rate=rate)) for w in bounds.widths]
        finite = [(w, frame) for w, frame in frames if all(map(math.isfinite, frame.values))]
        shown.append(series(LABELS[name], finite, style="line+points"))
    for name in names if bounds.columns else ():
        values = tuple(
            c.counting_rate if name == "counting" else c.rate(name) if rate else c.logs[name]
            for c in bounds.columns
        )
        widths = tuple(float(c.width) for c in bounds.columns)
        shown.append(Series(f"{LABELS[name]} (paper)", widths, values, style="published"))
    return Panel(title, "hidden width", "natural logarithm", tuple(shown))


def _strength_panels(bounds: Bounds) -> Iterator[Panel]:
    """The repository's figures: limits of the lemmas, and what pruning does, by strength."""
    parts = bounds.parts("strengths")
    if not parts:
        return
    network, part = parts[0]
    runs, rows = bounds.runs(network, " strengths"), part["rows"]
    at = tuple(float(row["d"]) for row in rows)

    def curve(label: str, name: str) -> Series:
        values = tuple(float(row[name]) for row in rows)
        return Series(label, at, values, style="line+points", runs=runs)

    changes = (
        curve("bound, lemma C.2", "needed"),
        curve("true class", "change_true"),
        curve("all logits", "change_norm"),
    )
    title = "Change of outputs by pruning, and its bound"
    yield Panel(title, "strength d", "logits", changes, x_log=True, y_log=True)
    names = {"largest row": "row_count", "3 d chi": "row_bound"}
    counts = [curve(label, name) for label, name in names.items()]
    stated = published(PAPER).items["repository"].inferred
    for label, name in names.items() if bounds.dataset in stated["row_count"] else ():
        d, value = (float(stated["at_d"]),), (float(stated[name][bounds.dataset]),)
        counts.append(Series(f"{label} (paper)", d, value, style="published"))
    title = "Weights in the fullest row of the layer with most inputs"
    yield Panel(title, "strength d", "weights", tuple(counts), x_log=True, y_log=True)


def _repository_notes(bounds: Bounds) -> Iterator[str]:
    stated, name = published(PAPER).items["repository"].inferred, bounds.dataset
    at_10 = [row for _, row in bounds.strengths() if row["d"] == stated["at_d"]]
    for row in at_10[:1] if name in stated["row_count"] else ():
        yield (
            f"At d = 10 the bound on the change of outputs is "
            f"{row['needed'] / row['change_true']:.0f} "
            f"times the change (released figures: about {stated['bound_over_change'][name]}), and "
            f"the fullest row keeps {row['row_count']} of 3 d chi = {row['row_bound']:.0f} "
            f"(released figures: {stated['row_count'][name]} of {stated['row_bound'][name]})."
        )


def _epochs(bounds: Bounds) -> list[tuple[float, tuple[str, ...], Result]]:
    """Epoch, run id and result of a network while it trains, the trained one last.

    Epochs of refinement count on after those of the training.
    """
    seeds = {key.rpartition("/")[2] for key in bounds.plan.runs if " epoch " in key}
    points: dict[float, tuple[tuple[str, ...], Result]] = {}
    for key, row in sorted(bounds.usable.items(), key=lambda one: " epoch " not in one[0]):
        spec = bounds.plan.runs[key]
        if isinstance(spec, MarginPruneSpec) and key.rpartition("/")[2] in seeds:
            end = int(str(bounds.plan.settings["epochs"])) + row["refined"]
            epoch = end if spec.epoch is None else spec.epoch
            points.setdefault(float(epoch), ((spec.run_id,), row))
    return [(epoch, *points[epoch]) for epoch in sorted(points)]


def _epoch_table(bounds: Bounds) -> Table:
    columns = (
        Column("epoch", "epoch", digits=0),
        Column("margin", "smallest margin"),
        Column("d", "d"),
        Column("bound", "new bound"),
        Column("loss", "of it training margin loss", digits=4),
        Column("train", "training error", "%", 2),
        Column("test", "true error, pruned", "%", 2),
    )
    rows = []
    for epoch, runs, row in _epochs(bounds):
        bound, errors = math.exp(row["logs"]["ours"]), row["errors"]
        values = (epoch, row["margin"]["min"], row["strength"]["d"], bound)
        more = (row["parts"]["margin_loss"], errors["train"], errors["pruned_test"])
        rows.append(_row((*values, *more), runs))
    return Table("The new bound while a network trains", columns, tuple(rows))


def _epoch_panels(bounds: Bounds) -> Iterator[Panel]:
    points = _epochs(bounds)
    if not points:
        return
    epochs = tuple(epoch for epoch, _, _ in points)
    runs = tuple(run for _, ids, _ in points for run in ids)
    errors = [row["errors"]["pruned_test"] for _, _, row in points]
    values = [math.exp(row["logs"]["ours"]) for _, _, row in points]
    margins = [row["margin"]["min"] for _, _, row in points]

    def curve(label: str, values: Sequence[float]) -> Series:
        return Series(label, epochs, tuple(map(float, values)), style="line+points", runs=runs)

    both = (curve("true error", errors), curve("new bound, scaled", scaled(values, errors)))
    title = "New bound, scaled to the range of the true error"
    yield Panel(title, "epoch", "share of test examples", both)
    yield Panel("New bound, as it is", "epoch", "bound", (curve("new bound", values),))
    smallest = (curve("smallest margin", margins),)
    yield Panel("Smallest training margin", "epoch", "logits", smallest)


def scaled(values: Sequence[float], into: Sequence[float]) -> list[float]:
    """Move values linearly into the range of others; constant ones to its middle."""
    low, high = min(values), max(values)
    bottom, top = min(into), max(into)
    if high == low:
        return [(bottom + top) / 2] * len(values)
    return [bottom + (top - bottom) * (value - low) / (high - low) for value in values]


def _epoch_claims(bounds: Bounds) -> tuple[Check, ...]:
    return claims.of_epochs(_epochs(bounds))


BOTH: tuple[Convention, ...] = ("paper", "authors-code")
_TABLE = Gather(
    tables=(
        partial(_by_width, AS_PRINTED, (*PRINTED, "theorem"), False),
        partial(_by_width, "Like with like: ln sqrt(capacity / n), without constants", RATES, True),
        _with_constants,
        _pruning,
        _at_strengths,
        _published_alone,
    ),
    claims=(claims.of_table,),
    measure=measure,
    view=Bounds,
)
_NETWORK = Gather(
    (_at_strengths,),
    (
        partial(_methods, "As printed", PRINTED, False),
        partial(_methods, "As roots per example", RATES, True),
        _strength_panels,
    ),
    (claims.of_network,),
    (_repository_notes,),
    measure,
    Bounds,
)

ITEMS = (
    Item.of(
        PAPER,
        "Figure 1a",
        "Bounds on MNIST side by side",
        "The new bound is several orders of magnitude below the others; Bartlett 2017 is next.",
        partial(plan_of, "mnist", parts=("strengths",), only_reference=True),
        _NETWORK,
        BOTH,
    ),
    Item.of(
        PAPER,
        "Figure 1b",
        "Bounds on CIFAR-10 side by side",
        "The same on CIFAR-10, by more orders of magnitude.",
        partial(plan_of, "cifar10", parts=("strengths",), only_reference=True),
        _NETWORK,
        BOTH,
    ),
    Item.of(
        PAPER,
        "Figure 1c",
        "Bounds on MNIST by hidden width",
        "The new bound stays below the others and grows less as the hidden layers widen.",
        partial(plan_of, "mnist"),
        Gather(
            panels=(
                partial(_widths, "As printed", PRINTED, False),
                partial(_widths, "As roots per example", RATES, True),
            ),
            claims=(claims.of_widths,),
            measure=measure,
            view=Bounds,
        ),
        BOTH,
    ),
    Item.of(
        PAPER,
        "Figure 2",
        "New bound and true error by epoch",
        "The new bound falls with the true error while the margin is negative, and goes on "
        "falling, slowly, once it is positive and grows.",
        partial(plan_of, "mnist", parts=("epoch",), only_reference=True),
        Gather((_epoch_table,), (_epoch_panels,), (_epoch_claims,), measure=measure, view=Bounds),
        BOTH,
    ),
    Item.of(
        PAPER,
        "Table 1",
        "Bounds and true errors on MNIST by hidden width",
        "At every hidden width the new bound is smaller than the bounds of Neyshabur 2015, "
        "Neyshabur 2017 and Bartlett 2017; the true error hardly depends on the width.",
        partial(plan_of, "mnist", parts=("bounds", "strengths")),
        _TABLE,
        BOTH,
    ),
    Item.of(
        PAPER,
        "Table 2",
        "Bounds and true error on CIFAR-10",
        "On CIFAR-10 too the new bound is orders of magnitude below the others.",
        partial(plan_of, "cifar10", parts=("bounds", "strengths")),
        _TABLE,
        BOTH,
    ),
)
