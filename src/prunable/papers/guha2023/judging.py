"""How statements are judged: width by width, network by network, strength by strength."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from prunable.experiments.reproduce.items import Check, Result
from prunable.papers.guha2023.found import Found
from prunable.papers.guha2023.published import BASELINES

NO_NETWORKS = "no network has a result"


def of_widths(
    found: Found,
    statement: str,
    holds: Callable[[int], bool],
    said: Callable[[int], str],
    *,
    essential: bool = True,
    baselines: bool = True,
) -> Check:
    """Judge every width of which there is a network; None where baselines are infinite."""
    widths = [width for width in found.widths if any(found.networks(width))]
    if not widths:
        return Check(statement, None, NO_NETWORKS, essential)
    if baselines and (lost := [width for width in widths if not _finite(found, width)]):
        said_of_them = "baselines are infinite, for a smallest training margin is not positive"
        return Check(statement, None, f"{said_of_them}: width {joined(lost)}", essential)
    evidence = "; ".join(f"width {width}: {said(width)}" for width in widths)
    return Check(statement, all(map(holds, widths)), evidence, essential)


def of_networks(
    found: Found,
    statement: str,
    holds: Callable[[Result], bool],
    said: Callable[[Result], str],
    *,
    essential: bool = True,
) -> Check:
    """Judge every trained network."""
    return _all(statement, found.networks(), holds, said, essential)


def of_strengths(
    found: Found, statement: str, holds: Callable[[Result], bool], said: Callable[[Result], str]
) -> Check:
    """Judge every network pruned at a given strength; not essential."""
    rows = [
        (key.rsplit("/", 1)[0], row)
        for key, part in found.parts("strengths")
        for row in part["rows"]
    ]
    return _all(statement, rows, holds, said, False)


def _all(
    statement: str,
    rows: Iterable[tuple[str, Result]],
    holds: Callable[[Result], bool],
    said: Callable[[Result], str],
    essential: bool,
) -> Check:
    known = list(rows)
    if not known:
        return Check(statement, None, NO_NETWORKS, essential)
    evidence = "; ".join(f"{key}: {said(row)}" for key, row in known)
    return Check(statement, all(holds(row) for _, row in known), evidence, essential)


def _finite(found: Found, width: int) -> bool:
    return all(math.isfinite(found.mean(width, row)) for row in BASELINES)


def joined(widths: Sequence[int]) -> str:
    """Widths in words."""
    return ", ".join(map(str, widths))
