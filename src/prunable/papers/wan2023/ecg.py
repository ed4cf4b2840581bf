"""Tables 1 to 4 and 10 to 14: ECG5000, by noise type and width."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.reproduce import agreement, checks
from prunable.experiments.reproduce.checks import percent
from prunable.experiments.reproduce.document import Check, Convention, Scale, Table
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import Line, TableSpec
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.wan2023 import noise_level, panels, settings
from prunable.papers.wan2023.claims import (
    COLUMNS,
    NAME,
    PRUNED,
    PUBLISHED,
    RATIO,
    TEST,
    Rows,
    table_item,
)
from prunable.runs.spec import Spec

TABLES, NUMERALS = settings.ECG_TABLES, settings.NUMERALS
READINGS = 1  # the table that also shows the other reading of the network
VOLATILE, WORSE = 3, 4
TYPE_1 = 2  # of the width of both

NOTES = (
    "The task is normal against abnormal heartbeats, as the appendix says, and the learning rate "
    "of both layers is the printed step size, as in the released code; a network divided by n, "
    "with learning rate eta * n and all five classes, has another test accuracy (last rows of "
    "table 1).",
    "The archive's own division into 500 and 4,500 series; the paper shuffles, with an unknown "
    "seed.",
    "The text fixes the relative error at 0.1; the printed ratios are those of a squared error of "
    "0.1, as in the released code. Both come from the same networks and stand side by side, so "
    "the conventions differ in nothing else.",
)
FITTED_NOTE = (
    "Noise level {level}: what the printed pruned shares fit. The printed {printed:g} is excluded "
    "by them, as the table of noise levels shows: initial weights plus noise, without any "
    "training, decide the share."
)
NOISE_NOTES = {
    "type1": FITTED_NOTE.format(level="0.13, sigma fitted", printed=0.5),
    "type2": "Noise level 0.15, as printed.",
    "type3": FITTED_NOTE.format(level="0.106, sigma fitted", printed=0.5)
    + " It is 0.15 on the scale of the released code, whose positive stable variable lacks a "
    "factor 2: the level printed for type II.",
}
PRINTED_NOTES = {
    "paper": "At the printed level type III has the text's characteristic function exp(-|u|^alpha)",
    "authors-code": "At the printed level type III noise is smaller by 2^(-1/2) than the text "
    "says, as in the released code",
}


@dataclass(frozen=True)
class EcgRows(Rows):
    """Rows whose plan also predicts the law of the pruned share.

    sigma : Noise level, on the text's scale.
    """

    sigma: float = 0.0

    @property
    def without_noise(self) -> float | None:
        """The printed share without noise; for tables that lack it, that of type I."""
        width = TABLES[self.number][1]
        own = self.target("none", RATIO)
        (first,) = (n for n, place in TABLES.items() if place == ("type1", width))
        return own or PUBLISHED[f"table{first}"].cell("none", RATIO).mean

    def law(self, found: Found, row: str) -> agreement.Law | None:
        """The predicted law of a row's pruned share; without noise nothing scatters."""
        if row == "none":
            return None
        return noise_level.law_of(found, TABLES[self.number][1], row, self.sigma)

    def follow_the_law(self, found: Found) -> Check:
        """Whether training leaves the shares as the noise alone makes them."""
        rows, width = self.noisy, TABLES[self.number][1]
        return noise_level.follow_the_law(found, rows, width, self.sigma)


def rows_of(number: int) -> EcgRows:
    """The rows of a table."""
    noise, _ = TABLES[number]
    return EcgRows(number, noise, settings.ALPHAS, sigma=settings.ecg_sigma(noise))


def plan_of(number: int, scale: Scale, convention: Convention) -> Plan:
    """Runs of one table."""
    noise, width = TABLES[number]
    setting = settings.ecg_setting(width, scale)
    runs: dict[str, Spec] = dict(settings.ecg_runs(width, noise, scale))
    runs |= settings.as_printed_runs(width, noise, scale, convention)
    if number == READINGS:
        runs |= _mean_field_runs(setting, smoke=scale == "smoke")
    if number in (VOLATILE, WORSE):
        others = settings.ecg_runs(width, "type1", scale)
        runs |= {key: spec for key, spec in others.items() if not key.startswith("none")}
    runs |= noise_level.law_runs(noise, scale)
    notes: tuple[str, ...] = (*NOTES, NOISE_NOTES[noise])
    if setting.seeds > settings.BESIDE_SEEDS:
        notes += (f"Seeds: {setting.seeds} for 5, so that the order of the rows can be seen.",)
    if noise == "type3":
        notes += (f"{PRINTED_NOTES[convention]}; the fitted level is one in both conventions.",)
    return Plan(
        scale,
        convention,
        runs,
        setting.summary(settings.level_words(noise, convention)),
        (settings.SMOKE_NOTE,) if scale == "smoke" else notes,
    )


def _mean_field_runs(setting: settings.Setting, *, smoke: bool) -> dict[str, Spec]:
    """Without noise, as equation (2) reads: f divided by n, learning rate eta * n, all classes."""
    return {
        f"mean-field/{seed}": EvaluateSpec.create(
            train=TrainSpec.create(
                dataset={"name": setting.dataset, "split": None if smoke else "official"},
                width=setting.width,
                lr=1e-3 if smoke else setting.lr,
                steps=setting.steps,
                batch_size=10**6 if smoke else 500,
                seed=seed,
            ),
            eps=settings.EPS_GRID,
            keep=(),
        )
        for seed in range(min(setting.seeds, settings.BESIDE_SEEDS))
    }


def _volatile(found: Found) -> list[Check]:
    pruned, plain = found.of("type2-1.9", PRUNED), found.of("none", TEST)
    printed = [rows_of(n).printed.cell("1.75", RATIO).std for n in (VOLATILE, TYPE_1)]
    means = f"{checks.plain(pruned.mean)} after pruning, {checks.plain(plain.mean)} without noise"
    return [
        checks.exceeds(
            "At alpha = 1.9 a pruned network is more accurate than the unpruned one without noise",
            [(pruned, plain)],
            means,
        ),
        checks.scatters_more(
            "Type II is more volatile than type I: its pruned shares scatter more at alpha = 1.75",
            found.of("type2-1.75", RATIO),
            found.of("type1-1.75", RATIO),
            "standard deviation {:.3f} against {:.3f} of type I",
            expected=(printed[0] or 1.0) / (printed[1] or 1.0),
        ),
    ]


def _worse_than_type1(found: Found) -> Check:
    own, first = rows_of(WORSE), rows_of(TYPE_1)
    pairs = [
        (found.of(first.noisy[row], RATIO), found.of(condition, RATIO))
        for row, condition in own.noisy.items()
    ]
    text = "; ".join(
        f"{row}: {percent(ours.mean)} against {percent(theirs.mean)} of type I"
        for row, (theirs, ours) in zip(own.noisy, pairs, strict=True)
    )
    return checks.exceeds("Type III compresses less than type I at every alpha", pairs, text)


def _item(number: int) -> Item:
    noise, width = TABLES[number]
    rows = rows_of(number)
    title = f"ECG5000, type {NUMERALS[noise]}, n = {width:,}"
    tables: list[TableSpec | Callable[[Found], Table | None]]
    tables = [TableSpec(title, NAME, COLUMNS, rows.lines(), rows.printed)]
    claims: list[Callable[[Found], Check | list[Check]]]
    claims = [rows.more_prunable, rows.rising, rows.small_loss, rows.agree, rows.near_accuracy]
    claim = (
        "Heavy-tailed noise makes more columns prunable than the 11.5 % without noise, the more "
        "so the lower alpha, at a small cost in accuracy"
    )
    if rows.target("none", RATIO) is not None:
        claims.insert(0, rows.near_without_noise)
    claims += [rows.follow_the_law, partial(_levels, noise), rows.small_step]
    if (noise, width) in settings.AS_PRINTED:
        tables.append(_as_printed(number, replace(rows, suffix=settings.PRINTED)))
        claims.append(partial(_agree_as_printed, rows))
    tables.append(partial(noise_level.table_of_levels, number))
    if number == VOLATILE:
        claims.append(_volatile)
        claim += "; type II is more volatile than type I, and gains accuracy at alpha = 1.9"
    if number == WORSE:
        claims.append(_worse_than_type1)
        claim += "; type III compresses less than type I"
    fit = partial(noise_level.fit_note, noise)
    others: dict[str, Rows] = {}
    if (noise, width) in settings.AS_PRINTED:
        others["ours at the printed noise level"] = replace(rows, suffix=settings.PRINTED)
    drawn = (partial(panels.of_rows, rows, others), partial(panels.of_noise_level, number))
    return table_item(
        number,
        f"ECG5000 with noise of type {NUMERALS[noise]}, n = {width:,}: accuracy and pruned share",
        claim + ".",
        plan_of,
        Gather(tuple(tables), drawn, tuple(claims), (rows.outliers, rows.slips, fit)),
        ("paper", "authors-code") if noise == "type3" else ("paper",),
    )


def _levels(noise: str, found: Found) -> list[Check]:
    """The printed shares against the law at the printed level, and at the fitted one."""
    convention = found.plan.convention
    printed = settings.printed_sigma(noise, convention)
    which = f"{settings.ECG_PRINTED_SIGMA[noise]:g}, as printed,"
    if not math.isclose(printed, settings.ECG_PRINTED_SIGMA[noise]):
        which = f"{settings.ECG_PRINTED_SIGMA[noise]:g}, as printed, on the released code's scale,"
    found_checks = [noise_level.at_level(noise, printed, which, found)]
    if noise in settings.ECG_FITTED_SIGMA:
        fitted = settings.ECG_FITTED_SIGMA[noise]
        found_checks.append(
            noise_level.at_level(noise, fitted, f"{fitted:.3g}, sigma fitted,", found)
        )
    return found_checks


def _agree_as_printed(rows: EcgRows, found: Found) -> Check:
    """Our runs at the printed level against the print."""
    printed = settings.printed_sigma(rows.noise, found.plan.convention)
    where = f" at noise level {settings.ECG_PRINTED_SIGMA[rows.noise]:g}, as printed"
    chosen = replace(rows, suffix=settings.PRINTED, sigma=printed)
    return chosen.agree(found, where).aside()


def _as_printed(number: int, rows: Rows) -> TableSpec:
    """The table at the printed noise level."""
    lines = [
        Line(f"sigma as printed, {row}", condition, row)
        for row, condition in reversed(rows.noisy.items())
    ]
    title = f"The same at the printed noise level {settings.ECG_PRINTED_SIGMA[rows.noise]:g}"
    if number == READINGS:
        label = "no noise, learning rate eta * n, five classes"
        lines.append(Line(label, "mean-field", "none"))
        title += ", and of a network divided by n"
    return TableSpec(title, NAME, COLUMNS, lines, rows.printed)


ITEMS = tuple(_item(number) for number in TABLES)
