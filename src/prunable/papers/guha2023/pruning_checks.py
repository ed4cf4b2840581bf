"""What the paper claims of the pruning and its lemmas, as statements that numbers decide."""

from __future__ import annotations

from prunable.experiments.reproduce.items import Check
from prunable.papers.guha2023.found import Found
from prunable.papers.guha2023.judging import NO_NETWORKS, of_networks, of_strengths
from prunable.papers.guha2023.published import columns

# A share of weights that deserves to be called pruning; the published rows imply 15 to 57 %.
PRUNED = 0.1


def prunes(found: Found) -> Check:
    """Check that the margin leaves room for pruning."""
    return of_networks(
        found,
        f"The smallest training margin allows pruning at least {PRUNED:.0%} of the weights",
        lambda row: row["kept"] <= (1 - PRUNED) * row["weights"],
        lambda row: (
            f"margin {row['margin']['min']:.3g}, d = {row['strength']['d']:.3g}, "
            f"{row['kept']:,} of {row['weights']:,} kept"
        ),
    )


def may_hold(found: Found) -> Check:
    """Check that theorem 5.2's failure probability leaves something."""
    return of_networks(
        found,
        "Theorem 5.2's own failure probability is below 1 at these widths",
        lambda row: row["theorem"]["failure"] < 1,
        lambda row: f"{row['theorem']['failure']:.2f}",
        essential=False,
    )


def rows_fit(found: Found) -> Check:
    """Check the published rows against each other."""
    statement = (
        "The published rows fit each other: the margin that the row Bartlett 2017 implies is "
        "enough for the strength that the new bound's row implies"
    )
    norms = [row["input_norm"] for _, row in found.networks()]
    published = columns(found.dataset)
    if not norms or not published:
        return Check(statement, None, NO_NETWORKS, essential=False)
    excess = {c.width: c.margin_excess(max(norms)) for c in published}
    said = ", ".join(f"{value:.3g} at {width}" for width, value in excess.items())
    return Check(
        statement,
        max(excess.values()) <= 1,
        f"the margin needed is at least so many times the one implied: {said}",
        essential=False,
    )


def margin_suffices(found: Found) -> Check:
    """Check the margins of our networks at the strengths that the published rows imply."""
    statement = "At the published rows' strengths the smallest training margin suffices"
    rows = [
        (key, part["min_margin"], row)
        for key, part in found.parts("strengths")
        if (known := found.published(int(key.split("/")[0]))) is not None
        for row in part["rows"]
        if abs(row["d"] - known.implied_d) < 1e-3 * known.implied_d
    ]
    if not rows:
        return Check(statement, None, "the paper has no such width", essential=False)
    said = "; ".join(
        f"{key.rsplit('/', 1)[0]}: d = {row['d']:.3g} needs {row['needed']:.3g}, the margin is "
        f"{margin:.3g}, logits changed by {row['change_norm']:.3g} at most"
        for key, margin, row in rows
    )
    return Check(
        statement, all(row["needed"] <= margin for _, margin, row in rows), said, essential=False
    )


def change_covered(found: Found) -> Check:
    """Check lemma C.2's limit against what pruning does to outputs."""
    return of_strengths(
        found,
        "The bound on the change of outputs covers the change, at every strength",
        lambda row: row["needed"] >= row["change_norm"],
        lambda row: f"d = {row['d']:g}: {row['needed']:.3g} and {row['change_norm']:.3g}",
    )


def errors_covered(found: Found) -> Check:
    """Check lemma 4.2's limit against spectral norms of what pruning takes away."""
    return of_strengths(
        found,
        "No layer changes by more than lemma 4.2 allows for at C = 1, at every strength",
        lambda row: row["error_ratio"] <= 1,
        lambda row: f"d = {row['d']:g}: {row['error_ratio']:.2f} of the limit at most",
    )


def rows_covered(found: Found) -> Check:
    """Check lemma 5.1's limit against row and column counts."""
    return of_strengths(
        found,
        "No row or column keeps more than 3 d chi weights, at every strength",
        lambda row: row["line_ratio"] <= 1,
        lambda row: f"d = {row['d']:g}: {row['line_ratio']:.2f} of the limit at most",
    )
