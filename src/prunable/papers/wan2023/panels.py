"""Pictures of the tables: ours beside the paper's, by tail index or noise level."""

from collections.abc import Mapping, Sequence

import numpy as np

from prunable.experiments.reproduce.document import Panel, Series
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.published import Printed
from prunable.experiments.reproduce.tables import curve, series
from prunable.papers.wan2023 import noise_level, settings
from prunable.papers.wan2023.claims import PRUNED, PUBLISHED, RATIO, TEST, Rows

APART = 0.006  # of series at one tail index, so that their error bars stay apart
LEAST = 1e-16  # smaller chances are drawn there


def of_rows(rows: Rows, others: Mapping[str, Rows], found: Found) -> tuple[Panel, ...]:
    """Pruned shares, and test accuracies before and after, against the tail index.

    others : The same rows under other settings, by the label of their shares.
    """
    sides = {"ours": rows, **others}
    shares = [
        _ours(label, place - len(sides) / 2, chosen, RATIO, found)
        for place, (label, chosen) in enumerate(sides.items())
    ]
    shares.append(_papers("paper", len(sides) / 2, rows, RATIO))
    accuracies = [
        drawn
        for place, (name, metric) in enumerate({"before": TEST, "after": PRUNED}.items())
        for drawn in (
            _ours(f"{name} pruning, ours", 2 * place - 1.5, rows, metric, found),
            _papers(f"{name} pruning, paper", 2 * place - 0.5, rows, metric),
        )
    ]
    shares.append(_level("no noise, ours", rows, found.of("none", RATIO).mean))
    accuracies.append(_level("no noise, ours", rows, found.of("none", TEST).mean))
    return (
        _panel("Columns pruned at a squared error of 0.1", "share of the columns", shares),
        _panel("Test accuracy", "test accuracy", accuracies),
    )


def of_alike(metric: str, noisy: Rows, alike: Rows, found: Found) -> Panel:
    """Test accuracies of networks with noise, and without it pruned as far."""
    drawn = [
        _ours("with noise, ours", -1.5, noisy, PRUNED, found),
        _papers("with noise, paper", -0.5, noisy, PRUNED),
        _ours("without, pruned as far, ours", 0.5, alike, metric, found),
        _papers("without, pruned as far, paper", 1.5, alike, metric),
    ]
    return _panel("Test accuracy after pruning", "test accuracy", drawn)


def of_levels(conditions: Mapping[str, str], number: int, found: Found) -> tuple[Panel, ...]:
    """Pruned shares and test accuracies of a table by printed noise level."""
    printed = PUBLISHED[f"table{number}"]
    sides = {RATIO: {"pruned": RATIO}, TEST: {"before pruning": TEST, "after pruning": PRUNED}}
    titles = {RATIO: "share of the columns pruned", TEST: "test accuracy"}
    found_panels = []
    for name, metrics in sides.items():
        drawn = []
        for label, metric in metrics.items():
            ours = [(float(row), found.of(c, metric)) for row, c in conditions.items()]
            theirs = [(1.02 * float(row), printed.cell(row, metric)) for row in conditions]
            drawn += [series(f"{label}, ours", ours), _published(f"{label}, paper", theirs)]
        axes = (titles[name].capitalize(), "printed noise level", titles[name])
        found_panels.append(Panel(*axes, tuple(one for one in drawn if one.x)))
    return tuple(found_panels)


def of_noise_level(number: int, found: Found) -> tuple[Panel, ...]:
    """What the law without training says: its mean shares, and which levels the print can have."""
    noise, width = settings.ECG_TABLES[number]
    best, printed = settings.ecg_sigma(noise), settings.ECG_PRINTED_SIGMA[noise]
    means, chances = [], []
    for row in map("{:g}".format, settings.ALPHAS):
        laws = [noise_level.law_of(found, width, row, sigma) for sigma in settings.SIGMAS]
        drawn = [None if law is None else float(np.mean(law.draws)) for law in laws]
        cell = PUBLISHED[f"table{number}"].cell(row, RATIO)
        means.append(curve(f"alpha = {row}, predicted", settings.SIGMAS, drawn))
        means.append(_published(f"alpha = {row}, paper", [(best, cell)]))
    for label, tables in (("all tables of this type", ()), ("this table", (number,))):
        found_chances = [noise_level.chance(found, noise, s, tables) for s in settings.SIGMAS]
        at_least = [None if p is None else max(p, LEAST) for p in found_chances]
        chances.append(curve(label, settings.SIGMAS, at_least))
        if label.startswith("all") and at_least[settings.SIGMAS.index(printed)] is not None:
            p = at_least[settings.SIGMAS.index(printed)]
            chances.append(Series("printed level", (printed,), (p,), style="published"))
    if not chances[0].x:
        return ()
    chances.append(curve("5 %", [min(settings.SIGMAS), max(settings.SIGMAS)], [0.05, 0.05]))
    return (
        Panel(
            "Mean share without training: weights plus noise",
            "noise level",
            "share of the columns",
            tuple(means),
            x_log=True,
        ),
        Panel(
            "Chance of the printed shares",
            "noise level",
            "p, Fisher's method",
            tuple(chances),
            x_log=True,
            y_log=True,
        ),
    )


def _panel(title: str, y_label: str, drawn: Sequence[Series]) -> Panel:
    return Panel(title, "tail index alpha", y_label, tuple(one for one in drawn if one.x))


def _ours(label: str, place: float, rows: Rows, metric: str, found: Found) -> Series:
    points = [
        (float(row) + APART * place, found.of(condition, metric))
        for row, condition in rows.noisy.items()
    ]
    return series(label, points)


def _papers(label: str, place: float, rows: Rows, metric: str) -> Series:
    cells = {row: rows.printed.cell(row, metric) for row in rows.noisy}
    return _published(label, [(float(row) + APART * place, cell) for row, cell in cells.items()])


def _published(label: str, cells: Sequence[tuple[float, Printed]]) -> Series:
    known = [(x, cell) for x, cell in cells if cell.mean is not None]
    means = tuple(cell.mean for _, cell in known)
    errors = tuple(cell.std or 0.0 for _, cell in known)
    return Series(label, tuple(x for x, _ in known), means, errors, style="published")


def _level(label: str, rows: Rows, mean: float | None) -> Series:
    ends = [min(rows.alphas) - 0.02, max(rows.alphas) + 0.02]
    return curve(label, ends, [mean, mean])
