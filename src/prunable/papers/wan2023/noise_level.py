"""Which noise level the printed pruned shares of ECG5000 have.

Initial weights plus the noise of all steps, without any training, decide the pruned share. Its
law at many levels tells which of them the printed means, of five runs each, can come of.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from prunable.data.registry import registered
from prunable.experiments.reproduce import agreement, checks
from prunable.experiments.reproduce.document import Cell, Check, Column, Scale, Table
from prunable.experiments.reproduce.frame import Found
from prunable.papers.wan2023 import settings
from prunable.papers.wan2023.claims import PUBLISHED, RATIO
from prunable.papers.wan2023.specs import ShareLawSpec
from prunable.runs.spec import Spec

FITTED, PRINTED = 0.05, 5  # least chance of a level that the print can have; runs of its means


def law_runs(noise: str, scale: Scale) -> dict[str, Spec]:
    """Laws of the rows of all tables of a noise type, by keys such as `law-2000-1.8`."""
    runs: dict[str, Spec] = {}
    for width in settings.ECG_STEPS:
        setting = settings.ecg_setting(width, scale)
        for alpha in settings.ALPHAS:
            runs[f"law-{width}-{alpha:g}"] = ShareLawSpec.create(
                width=setting.width,
                features=registered(setting.dataset).features,
                horizon=setting.lr * setting.steps,
                noise=noise,
                alpha=alpha,
                sigmas=settings.SIGMAS,
                draws=20 if scale == "smoke" else 400,
            )
    return runs


def law_of(found: Found, width: int, row: str, sigma: float) -> agreement.Law | None:
    """The law of a row's pruned share at one of the levels of its run; None where that is lost."""
    key = f"law-{width}-{row}"
    result, spec = found.usable.get(key), found.plan.runs.get(key)
    if result is None or not isinstance(spec, ShareLawSpec):
        return None
    (level,) = (i for i, own in enumerate(spec.sigmas) if math.isclose(own, sigma, rel_tol=1e-9))
    return _law(tuple(result["pruned"][level]))


@lru_cache(maxsize=512)
def _law(draws: tuple[float, ...]) -> agreement.Law:
    """One object for equal draws, which keeps what it has resampled."""
    return agreement.Law(np.array(draws))


def printed_rows(noise: str) -> list[tuple[int, str, float]]:
    """Table, row and mean of what is printed of a noise type, without rows repeated by slip."""
    return [
        (number, row, mean)
        for number, (kind, _) in settings.ECG_TABLES.items()
        for row in map("{:g}".format, settings.ALPHAS)
        if kind == noise and row not in PUBLISHED[f"table{number}"].unused
        for mean in [PUBLISHED[f"table{number}"].cell(row, RATIO).mean]
        if mean is not None
    ]


def compared(
    found: Found, noise: str, sigma: float, tables: Sequence[int] = ()
) -> list[tuple[str, float, int, agreement.Law | None]]:
    """Printed means beside their laws at a level: of all tables of a noise type, or of some."""
    rows = []
    for number, row, mean in printed_rows(noise):
        width = settings.ECG_TABLES[number][1]
        if not tables or number in tables:
            law = law_of(found, width, row, sigma)
            rows.append((f"n = {width:,}, {row}", mean, PRINTED, law))
    return rows


def chance(found: Found, noise: str, sigma: float, tables: Sequence[int] = ()) -> float | None:
    """Chance of means as far from their laws at a level as the printed ones, all together."""
    rows = compared(found, noise, sigma, tables)
    known = [(mean, n, law) for _, mean, n, law in rows if law is not None]
    if len(known) < len(rows):
        return None
    return agreement.combined([law.p_of_mean(mean, n) for mean, n, law in known])


def fitted(found: Found, noise: str) -> tuple[float, list[float]] | None:
    """The level of largest chance, and all levels that a test at 5 % leaves; None without laws.

    Of the levels of the laws' runs; the last list is empty where none is left.
    """
    chances = {sigma: chance(found, noise, sigma) for sigma in settings.SIGMAS}
    known = {sigma: p for sigma, p in chances.items() if p is not None}
    if not known:
        return None
    best = max(known, key=lambda sigma: known[sigma])
    return best, [sigma for sigma, p in known.items() if p >= FITTED]


def at_level(noise: str, sigma: float, which: str, found: Found) -> Check:
    """Whether the printed shares come of the law at a level, over all tables of a noise type."""
    check = agreement.follows(
        f"At the noise level {which} the printed pruned shares of type "
        f"{settings.NUMERALS[noise]} are means of initial weights plus noise, without training",
        compared(found, noise, sigma),
    )
    return checks.with_print(check).aside()


def table_of_levels(number: int, found: Found) -> Table | None:
    """Chances of the printed shares by noise level."""
    noise = settings.ECG_TABLES[number][0]
    names = settings.names_of_levels(noise)
    runs = tuple(found.plan.runs[key].run_id for key in found.usable if key.startswith("law-"))
    rows = []
    for sigma in settings.SIGMAS:
        of_all, own = (chance(found, noise, sigma, tables) for tables in ((), (number,)))
        if of_all is None or own is None:
            return None
        name = names.get(sigma, "")
        rows.append(
            (
                Cell(sigma),
                Cell(name),
                Cell(f"{of_all:.2g}", runs=runs),
                Cell(f"{own:.2g}", runs=runs),
            )
        )
    columns = (
        Column("sigma", "noise level"),
        Column("level", "what it is"),
        Column("p", f"p of all {len(printed_rows(noise))} printed rows of this type"),
        Column("p_table", "p of this table's"),
    )
    return Table("Noise levels that the printed pruned shares can have", columns, tuple(rows))


def fit_note(noise: str, found: Found) -> list[str]:
    """The fit in a sentence."""
    fit = fitted(found, noise)
    if fit is None or found.plan.scale == "smoke":
        return []
    best, left = fit
    rows = len(printed_rows(noise))
    text = (
        f"The law of initial weights plus noise, without training, fits the {rows} printed pruned "
        f"shares of type {settings.NUMERALS[noise]} best at noise level {best:.3g} of "
        f"{len(settings.SIGMAS)} levels (p = {chance(found, noise, best):.2g})"
    )
    if left:
        text += f"; a test at 5 % leaves {min(left):.3g} to {max(left):.3g}"
    printed = settings.ECG_PRINTED_SIGMA[noise]
    known = compared(found, noise, printed)
    chances = [law.p_of_mean(mean, n) for _, mean, n, law in known if law is not None]
    return [f"{text}; at the printed {printed:g} {agreement.told(chances)}."]


def follow_the_law(found: Found, rows: dict[str, str], width: int, sigma: float) -> Check:
    """Whether the trained networks' shares come of the law without training."""
    return agreement.follows(
        "Training adds nothing: the mean pruned shares of our trained networks are those of "
        "initial weights plus noise",
        [
            (row, found.of(condition, RATIO).mean, len(found.of(condition, RATIO)), law)
            for row, condition in rows.items()
            for law in [law_of(found, width, row, sigma)]
        ],
    ).aside()
