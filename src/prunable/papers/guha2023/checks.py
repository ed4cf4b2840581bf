"""What the paper claims of its bound, as statements that numbers decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunable.experiments.reproduce.items import Check
from prunable.papers.guha2023.found import LABELS, ROWS, Found
from prunable.papers.guha2023.judging import NO_NETWORKS, joined, of_networks, of_widths
from prunable.papers.guha2023.published import BASELINES, Published

# "Several orders of magnitude": three of them.
ORDERS = math.log(1000)
# Range over widths of a logarithm that hardly changes; that of the published row is 0.11.
STEADY = 0.2


def below_baselines(found: Found, *, rate: bool) -> Check:
    """Check that the new bound is below every baseline, in one of two forms."""
    form = (
        "as a root per example, like the new bound"
        if rate
        else "as printed: raw capacities of others beside a root per example"
    )
    statement = f"The new bound is below every baseline at every width ({form})"
    return of_widths(
        found,
        statement,
        lambda width: all(
            found.mean(width, "ours") < found.mean(width, row, rate=rate) for row in BASELINES
        ),
        lambda width: _listed(found, width, ROWS, rate),
    )


def published_below(published: Sequence[Published]) -> Check:
    """Check that the published new bound is below every baseline as a root per example."""
    statement = "The published new bound is below every published baseline as a root per example"
    if not published:
        return Check(statement, None, "the paper has no such data", essential=False)
    beaten = [
        f"{LABELS[row]} at {joined([c.width for c in wins])}"
        for row in BASELINES
        if (wins := [c for c in published if c.rate(row) <= c.logs["ours"]])
    ]
    shown = "; ".join(
        f"{c.width}: new {c.logs['ours']:.2f}, Bartlett 2017 {c.rate('bartlett2017'):.2f}"
        for c in published
    )
    return Check(
        statement,
        not beaten,
        f"below the new bound: {'; '.join(beaten) or 'none'} ({shown})",
        essential=False,
    )


def orders_below(found: Found) -> Check:
    """Check that, as printed, the closest baseline is orders of magnitude above."""
    return of_widths(
        found,
        "As printed, the new bound is at least 1,000 times below the closest baseline",
        lambda width: _gap(found, width) >= ORDERS,
        lambda width: f"by {_factor(_gap(found, width))}{_published_gap(found.published(width))}",
    )


def closest_is_bartlett(found: Found) -> Check:
    """Check which baseline is the lowest, as printed."""
    return of_widths(
        found,
        "As printed, Bartlett 2017 is the closest baseline",
        lambda width: (
            found.mean(width, "bartlett2017")
            < min(found.mean(width, row) for row in BASELINES if row != "bartlett2017")
        ),
        lambda width: _listed(found, width, BASELINES, rate=False),
        essential=False,
    )


def shorter_than_counting(found: Found) -> Check:
    """Check that sketches hold fewer numbers than the layers they stand for."""
    return of_widths(
        found,
        "Sketching needs fewer numbers than the weights themselves",
        lambda width: _complexity(found, width) < found.mean(width, "counting", rate=True),
        lambda width: (
            f"sketch {_complexity(found, width):.2f}, plain counting "
            f"{found.mean(width, 'counting', rate=True):.2f}"
        ),
        baselines=False,
    )


def near_published(
    found: Found, rows: Sequence[str], tolerance: float, *, essential: bool, any_width: bool = True
) -> Check:
    """Check that rows lie within so much of the published logarithms.

    Parameters
    ----------
    found : Found
    rows : sequence of str
    tolerance : float
    essential : bool
    any_width : bool
        Whether the paper's only column of a data set may have another width.
    """
    names = ", ".join(LABELS[row] for row in rows)
    statement = f"Within {tolerance:g} of the published logarithms: {names}"
    stated = [
        (width, c)
        for width in found.widths
        if any(found.networks(width))
        and (c := found.published(width)) is not None
        and (any_width or c.width == width)
    ]
    if not stated:
        return Check(statement, None, "the paper has no such width", essential)
    far = [
        (abs(found.mean(width, row) - known.logs[row]), width, row)
        for width, known in stated
        for row in rows
    ]
    largest, width, row = max(far)
    known = _known(found, width)
    where = "" if known.width == width else f" at width {known.width}"
    return Check(
        statement,
        largest <= tolerance,
        f"largest difference {largest:.2f}, of {LABELS[row]} at width {width}: "
        f"{found.mean(width, row):.2f}, published {known.logs[row]:.2f}{where}",
        essential,
    )


def covers_true_error(found: Found) -> Check:
    """Check that the new bound is above the error of the pruned network on test examples."""
    return of_networks(
        found,
        "The new bound is above the true error of the pruned network",
        lambda row: row["logs"]["ours"] >= math.log(max(row["errors"]["pruned_test"], 1e-300)),
        lambda row: f"{math.exp(row['logs']['ours']):.3g} and {row['errors']['pruned_test']:.3g}",
    )


def steady_error(found: Found) -> Check:
    """Check that the true error's logarithm hardly changes with the width."""
    statement = f"The true error's logarithm changes by at most {STEADY:g} with the width"
    means = {width: found.mean(width, "true_error") for width in found.widths}
    known = {width: value for width, value in means.items() if math.isfinite(value)}
    if len(known) < 2:
        return Check(statement, None, "fewer than two widths", essential=False)
    said = ", ".join(f"{value:.2f} at {width}" for width, value in known.items())
    spread = max(known.values()) - min(known.values())
    return Check(statement, spread <= STEADY, said, essential=False)


def vacuous(found: Found) -> Check:
    """Check the paper's own limitation."""
    return of_networks(
        found,
        "The new bound is above 1 and says nothing, as the paper grants",
        lambda row: row["logs"]["ours"] >= 0,
        lambda row: f"{math.exp(row['logs']['ours']):.3g}",
        essential=False,
    )


def normalised(found: Found) -> Check:
    """Check the bounds with all constants."""
    statement = "With all constants, theorem 5.2 is below every baseline's own bound"
    rows = {
        key.rsplit("/", 1)[0]: {
            bound["name"]: bound["log_value"]
            for bound in part["bounds"]
            if bound["variant"] in ("paper", "normalised")
        }
        for key, part in found.parts("bounds")
    }
    if not rows:
        return Check(statement, None, NO_NETWORKS, essential=False)
    names = ("Neyshabur 2015, Frobenius", "Neyshabur 2017", "Bartlett 2017")
    new = "sketched pruned network"
    pairs = {
        key: (_or_inf(logs[new]), min((_or_inf(logs[name]), name) for name in names))
        for key, logs in rows.items()
    }
    said = "; ".join(
        f"{key}: {ours:.2f}, {name} {least:.2f}" for key, (ours, (least, name)) in pairs.items()
    )
    return Check(
        statement, all(ours < least for ours, (least, _) in pairs.values()), said, essential=False
    )


def grows_slower(found: Found) -> Check:
    """Check that the new bound grows least between the narrowest and the widest network."""
    statement = "The new bound's logarithm grows less with the width than every baseline's"
    if len(found.widths) < 2:
        return Check(statement, None, "fewer than two widths")
    first, last = found.widths[0], found.widths[-1]
    growth = {row: found.mean(last, row) - found.mean(first, row) for row in ROWS}
    least = min(growth[row] for row in BASELINES)
    said = ", ".join(f"{LABELS[row]} {value:+.2f}" for row, value in growth.items())
    if not all(map(math.isfinite, growth.values())):
        return Check(statement, None, f"infinite rows: {said}")
    return Check(statement, growth["ours"] < least, f"{first} to {last}: {said}")


def _listed(found: Found, width: int, rows: Sequence[str], rate: bool) -> str:
    return ", ".join(f"{LABELS[row]} {found.mean(width, row, rate=rate):.2f}" for row in rows)


def _complexity(found: Found, width: int) -> float:
    parts = [row["parts"]["complexity"] for _, row in found.networks(width)]
    return math.fsum(map(math.log, parts)) / len(parts)


def _gap(found: Found, width: int) -> float:
    return min(found.mean(width, row) for row in BASELINES) - found.mean(width, "ours")


def _published_gap(known: Published | None) -> str:
    if known is None:
        return ""
    gap = min(known.logs[row] for row in BASELINES) - known.logs["ours"]
    return f" (published, at width {known.width}, {_factor(gap)})"


def _factor(log_factor: float) -> str:
    return f"a factor {math.exp(log_factor):.2g}" if math.isfinite(log_factor) else "any factor"


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def _known(found: Found, width: int) -> Published:
    known = found.published(width)
    assert known is not None
    return known
