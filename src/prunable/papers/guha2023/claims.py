"""What the paper claims of its bound and of the pruning, as statements that numbers decide."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from scipy.stats import spearmanr

from prunable.experiments.reproduce.checks import at_reduced_size, every, near, undecided
from prunable.experiments.reproduce.document import Check
from prunable.experiments.reproduce.frame import Result
from prunable.papers.guha2023.found import (
    BASELINES,
    LABELS,
    ROWS,
    Bounds,
    Published,
    Rows,
    width_of,
)

# "Several orders of magnitude": three of them.
ORDERS = math.log(1000)
# Range over widths of a logarithm that hardly changes; that of the published row is 0.11.
STEADY = 0.2
# Training differs, which norms and margins feel more than counts do.
NEAR, NEAR_BASELINES = 0.3, 2.0
# A share of weights that deserves to be called pruning; the published rows imply 15 to 57 %.
PRUNED = 0.1
# A fall of the bound worth comparing with that of the true error.
COMPARABLE = 0.1

Points = Sequence[tuple[float, tuple[str, ...], Result]]


def of_table(bounds: Bounds) -> Iterator[Check]:
    """Claims of tables 1 and 2."""
    yield _below_baselines(bounds, rate=False)
    yield _below_baselines(bounds, rate=True)
    yield from _below_released_norm(bounds)
    yield _shorter_than_counting(bounds)
    yield every(
        f"The smallest training margin allows pruning at least {PRUNED:.0%} of the weights",
        bounds.networks(),
        lambda row: row["kept"] <= (1 - PRUNED) * row["weights"],
        lambda row: (
            f"margin {row['margin']['min']:.3g}, d = {row['strength']['d']:.3g}, "
            f"{row['kept']:,} of {row['weights']:,} kept"
        ),
    )
    yield every(
        "The new bound is above the true error of the pruned network",
        bounds.networks(),
        lambda row: row["logs"]["ours"] >= math.log(max(row["errors"]["pruned_test"], 1e-300)),
        lambda row: f"{math.exp(row['logs']['ours']):.3g} and {row['errors']['pruned_test']:.3g}",
    )
    yield every(
        "The new bound is above 1 and says nothing, as the paper grants",
        bounds.networks(),
        lambda row: row["logs"]["ours"] >= 0,
        lambda row: f"{math.exp(row['logs']['ours']):.3g}",
    ).aside()
    yield from _near_published(bounds)
    if len(bounds.columns) != 1:
        yield _steady_error(bounds)
    yield _with_constants(bounds)
    yield every(
        "The failure probability of theorem 5.2, as reconstructed, is below 1 at these widths",
        bounds.networks(),
        lambda row: row["theorem"]["failure"] < 1,
        lambda row: f"{row['theorem']['failure']:.2f}",
    ).aside()
    yield _margin_suffices(bounds)
    yield _published_below(bounds.columns)
    yield rows_fit(bounds)


def of_network(bounds: Bounds) -> Iterator[Check]:
    """Claims of figures 1a and 1b, and of the released code's figures."""
    own = [c for c in bounds.columns if c.width in bounds.widths]
    strengths = bounds.strengths()
    yield _below_baselines(bounds, rate=False)
    yield bounds.every_width(
        "As printed, the new bound is at least 1,000 times below the closest baseline",
        lambda width: _gap(bounds, width) >= ORDERS,
        lambda width: f"by {_factor(_gap(bounds, width))}{_published_gap(bounds.published(width))}",
    )
    yield bounds.every_width(
        "As printed, Bartlett 2017 is the closest baseline",
        lambda width: min(BASELINES, key=lambda row: bounds.mean(width, row)) == "bartlett2017",
        lambda width: _listed(bounds, width, BASELINES, rate=False),
    ).aside()
    yield _below_baselines(bounds, rate=True)
    yield from _below_released_norm(bounds)
    yield _shorter_than_counting(bounds)
    yield from _near_published(bounds)
    yield _published_below(own or bounds.columns)
    yield every(
        "The bound on the change of outputs covers the change, at every strength",
        strengths,
        lambda row: row["needed"] >= row["change_norm"],
        lambda row: f"d = {row['d']:g}: {row['needed']:.3g} and {row['change_norm']:.3g}",
    ).aside()
    yield _within_limit(
        strengths,
        "No row or column keeps more than 3 d chi weights, at every strength",
        "line_ratio",
    )
    yield _within_limit(
        strengths,
        "No layer changes by more than lemma 4.2, as reconstructed, allows for at C = 1",
        "error_ratio",
    )


def _within_limit(rows: Rows, statement: str, ratio: str) -> Check:
    return every(
        statement,
        rows,
        lambda row: row[ratio] <= 1,
        lambda row: f"d = {row['d']:g}: {row[ratio]:.2f} of the limit at most",
    ).aside()


def of_widths(bounds: Bounds) -> Iterator[Check]:
    """Claims of figure 1c."""
    yield _below_baselines(bounds, rate=False)
    yield _below_baselines(bounds, rate=True)
    yield from _below_released_norm(bounds)
    yield from _near_published(bounds)
    yield _grows_slower(bounds)
    yield _shorter_than_counting(bounds)
    yield _published_below(bounds.columns)


def _below_baselines(bounds: Bounds, *, rate: bool) -> Check:
    form = (
        "as a root per example, like the new bound"
        if rate
        else "as printed: raw capacities of others beside a root per example"
    )
    return bounds.every_width(
        f"The new bound is below every baseline at every width ({form})",
        lambda width: all(
            bounds.mean(width, "ours") < bounds.mean(width, row, rate=rate) for row in BASELINES
        ),
        lambda width: _listed(bounds, width, ROWS, rate=rate),
    )


def _below_released_norm(bounds: Bounds) -> Iterator[Check]:
    """Like with like against the norm that the tables print; one check more where they differ."""
    row = bounds.printed_bartlett
    if row in BASELINES:
        return
    yield bounds.every_width(
        "The new bound is below Bartlett 2017 with the released code's norm, which the tables "
        "print, at every width (both as a root per example)",
        lambda width: bounds.mean(width, "ours") < bounds.mean(width, row, rate=True),
        lambda width: (
            f"{_listed(bounds, width, (row, 'ours'), rate=True)}; capacity "
            f"{bounds.mean(width, row):.2f}"
        ),
    )


def _shorter_than_counting(bounds: Bounds) -> Check:
    """Counted, not estimated: where every network's sketch is longer the claim is contradicted."""

    def complexity(width: int) -> float:
        parts = bounds.results_of(str(width)).values()
        logs = [math.log(row["parts"]["complexity"]) for row in parts]
        return math.fsum(logs) / len(logs)

    def numbers(width: int) -> float:
        """Numbers of the sketches for each weight."""
        return math.exp(2 * (complexity(width) - bounds.mean(width, "counting", rate=True)))

    found = bounds.every_width(
        "Sketching needs fewer numbers than the weights themselves",
        lambda width: numbers(width) < 1,
        lambda width: (
            f"sketch {complexity(width):.2f}, plain counting "
            f"{bounds.mean(width, 'counting', rate=True):.2f}: {numbers(width):.3g} numbers of the "
            f"sketches for each weight; a square layer needs chi below {_largest_chi(width):.3f}"
        ),
        baselines=False,
    )
    if found.holds is False and all(numbers(width) > 1 for width in bounds.trained):
        return replace(found, outcome="contradicted")
    return found


def _largest_chi(width: int) -> float:
    """Kept share below which a layer of this side is sketched with fewer numbers than weights."""
    return 1 / math.log(width) ** 2


def _published_below(published: Sequence[Published]) -> Check:
    statement = "The published new bound is below every published baseline as a root per example"
    if not published:
        return undecided(statement, "the paper has no such data").aside()
    beaten = [
        f"{LABELS[row]} at {', '.join(wins)}"
        for row in BASELINES
        if (wins := [str(c.width) for c in published if c.rate(row) <= c.logs["ours"]])
    ]
    shown = "; ".join(
        f"{c.width}: new {c.logs['ours']:.2f}, Bartlett 2017 {c.rate('bartlett2017'):.2f}"
        for c in published
    )
    evidence = f"below the new bound: {'; '.join(beaten) or 'none'} ({shown})"
    return Check(statement, not beaten, evidence).aside()


def _near_published(bounds: Bounds) -> Iterator[Check]:
    """The rows against the published ones; the new bound at another width decides nothing."""
    printed = tuple(row if row != "bartlett2017" else bounds.printed_bartlett for row in BASELINES)
    limits = {("ours",): NEAR, ("true_error",): NEAR, printed: NEAR_BASELINES}
    beside = [(width, c) for width in bounds.trained if (c := bounds.published(width))]
    same = [(width, c) for width, c in beside if width == c.width]
    for names, limit in limits.items():
        essential = names == ("ours",)
        rows = [
            (
                f"{LABELS[row]} at width {width}{_at(c, width)}",
                bounds.mean(width, row),
                c.logs["bartlett2017" if row == bounds.printed_bartlett else row],
            )
            for width, c in (same or beside if essential else beside)
            for row in names
        ]
        labels = ", ".join(LABELS[row] for row in names)
        statement = f"Within {limit:g} of the published logarithms: {labels}"
        if not rows:
            yield undecided(statement, "the paper has no such width").aside(not essential)
            continue
        check = near(statement, rows, limit, words=lambda value: f"{value:.2f}").aside(
            not essential
        )
        if essential and not same:
            width, c = beside[0]
            check = at_reduced_size(check, f"width {width} for {c.width:,}")
        yield check


def _at(known: Published, width: int) -> str:
    return "" if known.width == width else f" (published at width {known.width})"


def _steady_error(bounds: Bounds) -> Check:
    statement = f"The true error's logarithm changes by at most {STEADY:g} with the width"
    means = {width: bounds.mean(width, "true_error") for width in bounds.widths}
    known = {width: value for width, value in means.items() if math.isfinite(value)}
    if len(known) < 2:
        return undecided(statement, "fewer than two widths").aside()
    said = ", ".join(f"{value:.2f} at {width}" for width, value in known.items())
    spread = max(known.values()) - min(known.values())
    return Check(statement, spread <= STEADY, said).aside()


def _with_constants(bounds: Bounds) -> Check:
    statement = "With all constants, theorem 5.2 is below every baseline's own bound"
    names = ("Neyshabur 2015, Frobenius", "Neyshabur 2017", "Bartlett 2017")
    texts, holds = [], True
    for name, part in bounds.parts("bounds"):
        logs = {
            bound["name"]: math.inf if bound["log_value"] is None else bound["log_value"]
            for bound in part["bounds"]
            if bound["variant"] in ("paper", "normalised")
        }
        ours, (least, closest) = logs["sketched pruned network"], min((logs[n], n) for n in names)
        texts.append(f"{name}: {ours:.2f}, {closest} {least:.2f}")
        holds &= ours < least
    if not texts:
        return undecided(statement).aside()
    return Check(statement, holds, "; ".join(texts)).aside()


def _grows_slower(bounds: Bounds) -> Check:
    statement = "The new bound's logarithm grows less with the width than every baseline's"
    if len(bounds.widths) < 2:
        return undecided(statement, "fewer than two widths")
    first, last = bounds.widths[0], bounds.widths[-1]
    growth = {row: bounds.mean(last, row) - bounds.mean(first, row) for row in ROWS}
    said = ", ".join(f"{LABELS[row]} {value:+.2f}" for row, value in growth.items())
    if not all(map(math.isfinite, growth.values())):
        return undecided(statement, f"infinite rows: {said}")
    least = min(growth[row] for row in BASELINES)
    return Check(statement, growth["ours"] < least, f"{first} to {last}: {said}")


def rows_fit(bounds: Bounds) -> Check:
    """Check the published rows against each other."""
    statement = (
        "The published rows fit each other: the margin that the row Bartlett 2017 implies is "
        "enough for the strength that the new bound's row implies"
    )
    norms = [row["input_norm"] for _, row in bounds.networks()]
    if not norms or not bounds.columns:
        return undecided(statement, "no network, or not the paper's data").aside()
    excess = {c.width: c.margin_excess(max(norms)) for c in bounds.columns}
    said = ", ".join(f"{value:.3g} at {width}" for width, value in excess.items())
    evidence = f"the margin needed is at least so many times the one implied: {said}"
    return Check(statement, max(excess.values()) <= 1, evidence).aside()


def _margin_suffices(bounds: Bounds) -> Check:
    """The margins of our networks at the strengths that the published rows imply."""
    statement = "At the published rows' strengths the smallest training margin suffices"
    rows = [
        (name, row | {"margin": part["min_margin"]})
        for name, part in bounds.parts("strengths")
        if (known := bounds.published(width_of(name))) is not None
        for row in part["rows"]
        if abs(row["d"] - known.implied_d) < 1e-3 * known.implied_d
    ]
    if not rows:
        return undecided(statement, "the paper has no such width").aside()
    return every(
        statement,
        rows,
        lambda row: row["needed"] <= row["margin"],
        lambda row: (
            f"d = {row['d']:.3g} needs {row['needed']:.3g}, the margin is {row['margin']:.3g}, "
            f"logits changed by {row['change_norm']:.3g} at most"
        ),
    ).aside()


def _listed(bounds: Bounds, width: int, rows: Sequence[str], *, rate: bool) -> str:
    return ", ".join(f"{LABELS[row]} {bounds.mean(width, row, rate=rate):.2f}" for row in rows)


def _gap(bounds: Bounds, width: int) -> float:
    return min(bounds.mean(width, row) for row in BASELINES) - bounds.mean(width, "ours")


def _published_gap(known: Published | None) -> str:
    if known is None:
        return ""
    gap = min(known.logs[row] for row in BASELINES) - known.logs["ours"]
    return f" (published, at width {known.width}, {_factor(gap)})"


def _factor(log_factor: float) -> str:
    return f"a factor {math.exp(log_factor):.2g}" if math.isfinite(log_factor) else "any factor"


def of_epochs(points: Points) -> tuple[Check, ...]:
    """Claims of figure 2; the points are in the order of epochs."""
    falls = "The new bound falls in the course of training"
    follows = "The new bound and the true error rank the epochs alike (Spearman above 0.5)"
    further = "Once the smallest margin is positive the new bound falls below its value without one"
    settled = "By then the true error has nearly reached its least (within a tenth of it)"
    alike = f"The fall is no mere trace: at least {COMPARABLE:.0%} of the bound"
    if len(points) < 3:
        statements = (falls, follows, further, settled, alike)
        few = "fewer than three epochs"
        return tuple(undecided(s, few).aside(s == settled) for s in statements)
    rows = [row for _, _, row in points]
    bounds = [math.exp(row["logs"]["ours"]) for row in rows]
    errors = [row["errors"]["pruned_test"] for row in rows]
    said = f"{bounds[0]:.4f} after epoch {points[0][0]:.0f}, {bounds[-1]:.4f} at the end"
    constant = len(set(bounds)) == 1 or len(set(errors)) == 1
    rank = math.nan if constant else float(spearmanr(bounds, errors).statistic)
    share = 1 - bounds[-1] / bounds[0]
    fall = f"the bound falls by {share:.2%}"
    if errors[0] > 0:
        fall += f", the true error by {1 - errors[-1] / errors[0]:.0%}"
    return (
        Check(falls, bounds[-1] < bounds[0], said),
        Check(follows, None if constant else rank > 0.5, f"rank correlation {rank:.2f}"),
        *_once_positive(further, settled, points),
        Check(alike, share >= COMPARABLE, fall),
    )


def _once_positive(further: str, settled: str, points: Points) -> tuple[Check, Check]:
    rows = [row for _, _, row in points]
    positive = [(epoch, row) for epoch, _, row in points if row["margin"]["min"] > 0]
    if not positive:
        none = "the smallest margin is positive at no epoch"
        return undecided(further, none), undecided(settled, none).aside()
    epoch, first = positive[0]
    without = min(
        (row["parts"]["complexity"] for row in rows if row["strength"]["d"] == 0), default=math.inf
    )
    last = math.exp(rows[-1]["logs"]["ours"])
    least = min(row["errors"]["pruned_test"] for row in rows)
    error = first["errors"]["pruned_test"]
    return (
        Check(
            further,
            None if math.isinf(without) else last < without,
            f"{last:.4f} at the end, at d = {rows[-1]['strength']['d']:.3g}; {without:.4f} "
            "without pruning and training errors",
        ),
        Check(
            settled,
            error <= 1.1 * least,
            f"true error {error:.4f} at epoch {epoch:.0f}, the first with a positive margin; "
            f"least {least:.4f}",
        ).aside(),
    )
