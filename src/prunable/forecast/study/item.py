"""The study of forecasts: every estimator on trained networks, beside what labels tell."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prunable.experiments.prune.trained import TRAINED, trained_here
from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    Convention,
    Panel,
    Scale,
    Series,
    Table,
)
from prunable.experiments.reproduce.frame import Found, Frame
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.forecast.estimators import DEFAULT, ESTIMATORS
from prunable.forecast.study import errors
from prunable.forecast.study.logits import DENSE, RENEWED, LogitsSpec
from prunable.forecast.ways import KEEPS, way_named
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec


@dataclass(frozen=True)
class Size:
    """How much is computed at a scale.

    `calibrated` says at which shares, and for which networks, layers are also fitted to their
    inputs, which takes longer than all else. Of `n_test` inputs the first `n_inputs` are seen by
    ways that go by inputs, forecasts draw theirs from those up to `n_first`, and the accuracy is
    that on all others. `sizes` are numbers of unlabelled inputs, `draws` how often they are drawn.
    """

    networks: tuple[str, ...]
    data: str
    ways: tuple[str, ...]
    keeps: tuple[float, ...]
    calibrated: tuple[float, ...]
    calibrated_networks: tuple[str, ...]
    n_inputs: int
    n_first: int
    n_test: int
    sizes: tuple[int, ...]
    draws: int


WAYS = ("magnitude/global", "magnitude/lamp", "magnitude/layer", "wanda/lamp", "unit/layer", "n:4")
CALIBRATED = "calibrated/lamp"
EVERY = tuple(TRAINED)
SIZES: Mapping[Scale, Size] = {
    "smoke": Size(
        ("",), "digits", WAYS[:4], (0.5, 0.2, 0.1), (0.3,), ("",), 64, 264, 450, (64, 128), 3
    ),
    "laptop": Size(EVERY, "cifar10", WAYS, KEEPS, KEEPS, EVERY, 128, 1500, 4000, (256, 1000), 10),
    "paper": Size(EVERY, "cifar10", WAYS, KEEPS, KEEPS, EVERY, 256, 3000, 10_000, (256, 1000), 50),
}


def logits_specs(scale: Scale) -> dict[str, tuple[LogitsSpec, ...]]:
    """The runs that make logits, by network: the dense one, as it is and renewed, then each way."""
    size = SIZES[scale]
    data = DataSpec.create(name=size.data)
    found = {}
    for network in size.networks:
        common: dict[str, Any] = {
            "network": network,
            "digest": TRAINED[network].digest() if network else "",
            "code": TRAINED[network].code() if network else "",
            "train": None if network else trained_here(data),
            "dataset": data,
            "n_inputs": size.n_inputs,
            "n_test": size.n_test,
        }
        ways = {way: way_named(way).keeps(size.keeps) for way in size.ways}
        if network in size.calibrated_networks:
            ways[CALIBRATED] = size.calibrated
        found[network or "trained here"] = tuple(
            # the usual way has gone in order, towards the network, since its third schema
            LogitsSpec.create(
                way=way, keeps=keeps, schema_version=3 if way == CALIBRATED else 2, **common
            )
            for way, keeps in {DENSE: (1.0,), RENEWED: (1.0,), **ways}.items()
        )
    return found


FORECASTS = "forecasts"
SMALL = 0.2  # losses below which errors are also told
ALL = (*ESTIMATORS, errors.FEW_LABELS, errors.WITH_LABELS, errors.LABELS, errors.DIFFERENCE)
# Largest mean absolute errors that the default estimator may have: of all cases, of small losses.
LIMITS: Mapping[int, tuple[float, ...]] = {256: (0.0115, 0.008), 1000: (0.0075, 0.006)}
COVERED = (0.85, 0.95)
HELD = 0.88  # share of accepted plans that hold the loss


def _plan(scale: Scale, convention: Convention) -> Plan:
    size = SIZES[scale]
    runs = {
        f"{FORECASTS}/{network}": errors.ErrorsSpec.create(
            logits=specs, n_first=size.n_first, sizes=size.sizes, draws=size.draws
        )
        for network, specs in logits_specs(scale).items()
    }
    settings: dict[str, str | int | float | bool] = {
        "data": size.data,
        "networks": len(runs),
        "ways": ", ".join(size.ways),
        "shares": ", ".join(f"{keep:g}" for keep in size.keeps),
        "inputs that forecasts draw from": size.n_first - size.n_inputs,
        "other inputs, of the accuracy": size.n_test - size.n_first,
        "draws": size.draws,
    }
    notes = (
        "The dense network's known accuracy is that on the inputs that the pruned ones are judged "
        "by. Where a copy goes by what flows into its layers, inputs of their own told it.",
    )
    return Plan(scale, convention, runs, settings, notes)


def measure(spec: Spec, result: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Errors of each estimator at each point by its loss; and what advice came to."""
    assert isinstance(spec, errors.ErrorsSpec)
    for row in result["rows"]:
        for name in ("mae", "bias", "covered", "width"):
            if row[name] is not None:
                yield _metric(row["estimator"], row["size"], name), row[name], row["loss"]
    for plan in result["plans"]:
        accepted = plan["verdict"] == "ACCEPT"
        yield f"accepted {plan['size']}", float(accepted), plan["draw"]
        if accepted:
            yield f"held {plan['size']}", float(plan["loss"] <= errors.LOSS), plan["draw"]
            yield f"left {plan['size']}", plan["parameters"], plan["draw"]
    for one in result["fitted"]:
        for keep, apart in zip(one["keeps"], one["apart"], strict=True):
            yield "apart where fitted", apart, keep


def _metric(estimator: str, size: int, what: str) -> str:
    return f"{estimator}, {size}: {what}"


def _of(found: Found, estimator: str, size: int, what: str) -> Frame:
    return found.of(FORECASTS, _metric(estimator, size, what))


def _small(frame: Frame) -> Frame:
    return frame.where(lambda row: row.x is not None and row.x < SMALL)


def _tables(size: int) -> Any:
    def table(found: Found) -> Table | None:
        sizes = SIZES[found.plan.scale].sizes
        if size >= len(sizes):
            return None
        count = sizes[size]
        rows = []
        for name in ALL:
            error = _of(found, name, count, "mae")
            if not len(error):
                continue
            frames = [error, _small(error)]
            frames += [_of(found, name, count, what) for what in ("bias", "covered", "width")]
            label = f"{name} (default)" if name == DEFAULT else name
            rows.append((Cell(label), *(Cell(f.mean, runs=f.runs) for f in frames)))
        columns = (
            Column("estimator", "estimator"),
            Column("mae", "mean absolute error", "points", 2),
            Column("small", "of losses under 20 points", "points", 2),
            Column("bias", "bias", "points", 2),
            Column("covered", "in the 90 % interval", "%", 1),
            Column("width", "its mean width", "points", 1),
        )
        return Table(f"From {count:,} inputs", columns, tuple(rows)) if rows else None

    return table


def _networks(found: Found) -> Table | None:
    sizes = SIZES[found.plan.scale].sizes
    first = _of(found, DEFAULT, sizes[0], "mae")
    rows = []
    for network in first.seeds:
        cells = []
        for count in sizes:
            for what in ("mae", "bias", "covered"):
                mine = _of(found, DEFAULT, count, what).group("seed")[network]
                cells.append(Cell(mine.mean, runs=mine.runs))
        rows.append((Cell(network), *cells))
    columns = [Column("network", "network")]
    for count in sizes:
        named = (
            ("mae", "error", "points"),
            ("bias", "bias", "points"),
            ("covered", "covered", "%"),
        )
        columns += [Column(f"{k} {count}", f"{label}, {count:,}", u, 2) for k, label, u in named]
    title = "The default estimator, network by network"
    return Table(title, tuple(columns), tuple(rows)) if rows else None


def _advice(found: Found) -> Table | None:
    rows = []
    for count in SIZES[found.plan.scale].sizes:
        accepted = found.of(FORECASTS, f"accepted {count}")
        if not len(accepted):
            continue
        held, left = (found.of(FORECASTS, f"{what} {count}") for what in ("held", "left"))
        cells = (Cell(accepted.mean), Cell(len(held)), Cell(held.mean), Cell(left.mean))
        rows.append((Cell(f"{count:,}"), *cells))
    columns = (
        Column("inputs", "inputs"),
        Column("accepted", "of the draws accepted", "%", 1),
        Column("plans", "plans accepted", "", 0),
        Column("held", "that hold it", "%", 1),
        Column("left", "numbers left by them", "%", 1),
    )
    title = f"Advice at a loss of {100 * errors.LOSS:g} point"
    return Table(title, columns, tuple(rows)) if rows else None


def _panel(found: Found) -> Panel:
    lines = []
    size = SIZES[found.plan.scale].sizes[0]
    for name in (DEFAULT, "agreement", errors.LABELS):
        frame = _of(found, name, size, "mae")
        points = sorted((row.x, row.value) for row in frame.rows if row.x is not None)
        lines.append(
            Series(
                name,
                tuple(100 * x for x, _ in points),
                tuple(100 * y for _, y in points),
                tuple(0.0 for _ in points),
                style="points",
                runs=frame.runs,
            )
        )
    return Panel(
        f"Errors from {size:,} inputs, network by network and share by share",
        "points of accuracy lost",
        "mean absolute error in points",
        tuple(lines),
    )


def _claims(found: Found) -> Iterator[Check]:
    for count in SIZES[found.plan.scale].sizes:
        error = _of(found, DEFAULT, count, "mae")
        limits = LIMITS.get(count, ())
        cases = ((error, "on all cases"), (_small(error), "where less than 20 points are lost"))
        for (frame, of), limit in zip(cases, limits, strict=False):
            statement = f"From {count:,} inputs, {of}, the error is at most {100 * limit:g} points"
            told = f"{100 * (frame.mean or 0):.2f} points over {len(frame)} points"
            yield checks.at_most(statement, frame.mean, limit, told)
        plain = _of(found, errors.LABELS, count, "mae").mean
        yield checks.compared(
            f"{count:,} labels tell less by themselves",
            plain,
            error.mean,
            "mean absolute error {:.4f} against {:.4f}",
        )
        covered = _of(found, DEFAULT, count, "covered").mean
        low, high = COVERED
        statement = f"From {count:,} inputs, {low:.0%} to {high:.0%} lie in the 90 % intervals"
        if covered is None:
            yield checks.undecided(statement)
        else:
            yield Check(statement, low <= covered <= high, checks.percent(covered, 1))
        yield _holding(found, count)


def _holding(found: Found, count: int) -> Check:
    held = found.of(FORECASTS, f"held {count}")
    statement = f"Of plans accepted from {count:,} inputs at least {HELD:.0%} hold their loss"
    if not len(held):
        return checks.undecided(statement, "no plan was accepted")
    evidence = f"{statistics.fmean(held.values):.1%} of {len(held)}"
    return checks.at_least(statement, held.mean, HELD, evidence)


def _notes(found: Found) -> Iterator[str]:
    apart = found.of(FORECASTS, "apart where fitted")
    if len(apart):
        yield (
            "Copies whose weights were fitted keep "
            f"{100 * (apart.mean or 0):+.2f} points more decisions on the inputs they were fitted "
            f"to than on others, over {len(apart)} copies."
        )


STUDY = Item(
    name="study-forecast",
    paper=None,
    kind="study",
    label="Forecasts",
    title="The accuracy of pruned networks, forecast from unlabelled inputs",
    claim="A few hundred unlabelled inputs and the known accuracy tell the accuracy after pruning "
    "better than as many labels do.",
    plan=_plan,
    gather=Gather(
        tables=(_tables(0), _tables(1), _networks, _advice),
        panels=(_panel,),
        claims=(_claims,),
        notes=(_notes,),
        measure=measure,
    ),
)
