"""Figures 1, 3 to 7, 9 and 10, and table 2: what trained networks show."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import monotone, undecided
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import settings
from prunable.papers.barsbey2021.settings import PAPER, PUBLISHED, Case

METHODS = {
    "magnitude": "layer-wise magnitude",
    "global": "global magnitude",
    "singular": "singular values",
    "node": "nodes or kernels",
}
ALPHA_LABEL = "mean tail index"
BOTH: tuple[document.Convention, ...] = ("paper", "authors-code")

Networks = Sequence[Result]
CaseGather = Callable[[str, Networks], tuple[document.Panel, list[document.Check]]]


def networks(
    plan: Plan, results: Mapping[str, Result], case: Case
) -> tuple[list[Result], list[str]]:
    """Results of a case that met the stop rule, in the order of eta / b; a note on the others.

    Each has its own `key`, such as `b=50 eta=0.1`, and the ids of its `runs` beside its numbers.
    """
    found, missing = [], []
    for key, spec in plan.runs.items():
        name, _, own = key.partition("/")
        if name != "-".join(case):
            continue
        result = results[key]
        if result["status"] != "done" or not result["stopped"]:
            missing.append(f"{own} ({result['reason']})")
        elif result.get("alpha", 0.0) is None:
            missing.append(f"{own} (too few vectors for a tail index)")
        else:
            found.append({**result, "key": own, "runs": (spec.run_id,)})
    label = settings.case_label(case, plan.scale)
    return found, [f"{label}, left out: {'; '.join(missing)}."] if missing else []


def area(network: Result, method: str) -> float:
    """Mean accuracy after pruning relative to before, over the curve of a method."""
    x, y = curve(network, method)
    order = np.argsort(x, kind="stable")
    xs, ys = np.array(x)[order], np.array(y)[order]
    span = float(xs[-1] - xs[0])
    return float(np.trapezoid(ys, xs)) / span if span > 0 else float(ys[0])


def curve(network: Result, method: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Pruned shares of all weights, and relative test accuracies.

    Singular values are as many numbers as the weights or more until many are pruned; those
    points are left out.
    """
    found, dense = network["curves"][method], network["dense"]["test_accuracy"]
    points = [
        (x, y / dense if dense else 0.0)
        for x, y in zip(found["pruned"], found["test_accuracy"], strict=True)
        if x >= 0
    ]
    return tuple(x for x, _ in points), tuple(y for _, y in points)


def _over_cases(
    plan: Plan,
    results: Mapping[str, Result],
    *,
    gather: CaseGather,
    nets: tuple[str, ...],
    with_tables: bool,
    notes: tuple[str, ...],
) -> document.Findings:
    panels, checks, tables, said = [], [], [], list(notes)
    for case in settings.cases(plan.scale, nets):
        found, left_out = networks(plan, results, case)
        label = settings.case_label(case, plan.scale)
        panel, case_checks = gather(label, found)
        panels.append(panel)
        checks += case_checks
        said += left_out
        if with_tables and found:
            tables.append(_table(found, label))
    return document.Findings(tuple(tables), tuple(panels), tuple(checks), tuple(said))


def _table(found: Networks, title: str) -> document.Table:
    columns = (
        document.Column("key", "Training"),
        document.Column("ratio", "eta / b", digits=6),
        document.Column("alpha", "Mean tail index"),
        document.Column("prunable", "Prunable at error 0.1", "%", 1),
        *(document.Column(f"area_{m}", f"Area, {label}") for m, label in METHODS.items()),
        document.Column("test", "Test accuracy", "%", 2),
        document.Column("steps", "Steps", digits=0),
    )
    rows = []
    for n in found:
        own = {"ratio": n["eta_over_b"], "test": n["test_accuracy"]}
        row = {**n, **own, **{f"area_{m}": area(n, m) for m in METHODS}}
        rows.append(tuple(document.Cell(row[column.key], runs=n["runs"]) for column in columns))
    return document.Table(title, columns, tuple(rows))


def _column(found: Networks, name: str) -> tuple[float, ...]:
    return tuple(n[name] for n in found)


def _points(
    label: str, found: Networks, x: str, y: str, colour: float | None = None
) -> document.Series:
    runs = tuple(run for n in found for run in n["runs"])
    numbers = (_column(found, x), _column(found, y))
    return document.Series(label, *numbers, style="points", colour_value=colour, runs=runs)


def _tails(label: str, found: Networks) -> tuple[document.Panel, list[document.Check]]:
    by_batch: dict[str, list[Result]] = {}
    for network in found:
        by_batch.setdefault(network["key"].split()[0].replace("=", " = "), []).append(network)
    names = ("eta_over_b", "alpha")
    series = tuple(_points(batch, group, *names) for batch, group in by_batch.items())
    check = monotone(
        f"{label}: the tail index falls as eta / b grows", *(_column(found, x) for x in names)
    )
    return document.Panel(label, "eta / b", ALPHA_LABEL, series, x_log=True), [check]


def _prunability(label: str, found: Networks) -> tuple[document.Panel, list[document.Check]]:
    series, all_known = [], []
    for i in range(len(found[0]["layers"]) if found else 0):
        layers = [n["layers"][i] | {"runs": n["runs"]} for n in found]
        known = [layer for layer in layers if layer["alpha"] is not None]
        all_known += known
        name = f"layer {i + 1} ({layers[0]['name']})"
        series.append(_points(name, known, "prunable", "alpha"))
    checks = [
        monotone(
            f"{label}: networks of lower tail index can be pruned more at error 0.1",
            _column(found, "alpha"),
            _column(found, "prunable"),
        ),
        monotone(
            f"{label}: so can layers, all of them together",
            _column(all_known, "alpha"),
            _column(all_known, "prunable"),
            essential=False,
        ),
    ]
    return document.Panel(label, "pruning ratio at error 0.1", "tail index", tuple(series)), checks


def _curves(
    label: str, found: Networks, *, method: str, essential: bool = True
) -> tuple[document.Panel, list[document.Check]]:
    series = tuple(
        document.Series(n["key"], *curve(n, method), colour_value=n["alpha"], runs=n["runs"])
        for n in found
    )
    check = monotone(
        f"{label}: networks of lower tail index keep more accuracy under pruning of "
        f"{METHODS[method]} (area under the curve)",
        _column(found, "alpha"),
        [area(n, method) for n in found],
        essential=essential,
    )
    axes = (label, "pruning ratio", "relative test accuracy")
    return document.Panel(*axes, series, colour_label=ALPHA_LABEL), [check]


def _weak_nodes(label: str, found: Networks) -> tuple[document.Panel, list[document.Check]]:
    panel, order = _curves(label, found, method="node", essential=False)
    statement = f"{label}: node pruning costs more accuracy than magnitude pruning"
    if not found:
        return panel, [undecided(statement, "no networks")]
    areas = [(area(n, "node"), area(n, "magnitude")) for n in found]
    nodes, weights = (float(np.mean(side)) for side in zip(*areas, strict=True))
    worse = sum(node < weight for node, weight in areas)
    evidence = (
        f"mean area {nodes:.3f} against {weights:.3f}; lower in {worse} of {len(found)} networks"
    )
    return panel, [document.Check(statement, nodes < weights, evidence), *order]


def _generalisation(label: str, found: Networks) -> tuple[document.Panel, list[document.Check]]:
    names = ("alpha", "test_accuracy")
    series = tuple(_points(n["key"], [n], *names, n["eta_over_b"]) for n in found)
    falls = monotone(
        f"{label}: networks of higher tail index have lower test accuracy",
        *(_column(found, name) for name in names),
    )
    panel = document.Panel(label, ALPHA_LABEL, "test accuracy", series, colour_label="eta / b")
    return panel, [falls, _worst_third(label, found)]


def _worst_third(label: str, found: Networks) -> document.Check:
    statement = f"{label}: the third of the networks of highest tail index is the worst on average"
    if len(found) < 3:
        return undecided(statement, f"{len(found)} networks")
    order = _column(sorted(found, key=lambda n: float(n["alpha"])), "test_accuracy")
    means = [float(np.mean(third)) for third in np.array_split(order, 3)]
    evidence = "test accuracies " + ", ".join(f"{100 * m:.2f} %" for m in means)
    return document.Check(
        statement, means[2] < min(means[:2]), f"{evidence} from the lowest to the highest"
    )


FULLY_CONNECTED, CONVOLUTIONAL = ("fcn4", "fcn6"), ("vgg",)


def _item(
    number: int,
    title: str,
    claim: str,
    gather: CaseGather,
    *,
    nets: tuple[str, ...] = FULLY_CONNECTED + CONVOLUTIONAL,
    conventions: tuple[document.Convention, ...] = BOTH,
    notes: tuple[str, ...] = (),
) -> Item:
    def plan(scale: document.Scale, convention: document.Convention) -> Plan:
        return settings.network_plan(scale, convention, settings.cases(scale, nets))

    # the tail index and the dense accuracy are the same in both conventions
    alike = conventions == ("paper",)
    return Item.of(
        PAPER,
        f"Figure {number}",
        title,
        claim,
        plan,
        partial(_over_cases, gather=gather, nets=nets, with_tables=alike, notes=notes),
        conventions,
    )


FIGURES = (
    _item(
        1,
        "Estimated tail index against the ratio of step size to batch size",
        "Training with a larger ratio eta / b gives heavier-tailed weights.",
        _tails,
        conventions=("paper",),
        notes=("Estimates are capped at 2, as in the released code.",),
    ),
    _item(
        3,
        "Tail index against the share that can be pruned at a relative error of 0.1",
        "Heavier-tailed layers can be pruned more at a given error.",
        _prunability,
        notes=(
            "Pruning ratios that the paper's axis marks: "
            f"{', '.join(map(str, PUBLISHED.items['fig3'].stated['pruning_ratio_ticks']))}.",
        ),
    ),
    _item(
        4,
        "Accuracy after layer-wise magnitude pruning",
        "Networks with heavier tails are more robust against magnitude pruning.",
        partial(_curves, method="magnitude"),
    ),
    _item(
        5,
        "Accuracy after pruning of singular values",
        "Networks with heavier tails are more robust against pruning of singular values.",
        partial(_curves, method="singular"),
        notes=("The ratio counts the numbers of the kept singular triples.",),
    ),
    _item(
        6,
        "Accuracy after pruning of convolution kernels",
        "Structured pruning works in the CNNs, and better with heavier tails.",
        partial(_curves, method="node"),
        nets=CONVOLUTIONAL,
    ),
    _item(
        7,
        "Test accuracy against the estimated tail index",
        "The networks of the highest tail index generalise worst.",
        _generalisation,
        conventions=("paper",),
    ),
    _item(
        9,
        "Accuracy after global magnitude pruning",
        "One threshold for all layers gives the same picture as layer-wise pruning.",
        partial(_curves, method="global"),
        notes=(
            "Tail indices on the paper's colour bar: {} to {}.".format(
                *PUBLISHED.items["fig9"].stated["alpha_colour_bar"]
            ),
        ),
    ),
    _item(
        10,
        "Accuracy after node pruning of fully connected networks",
        "Pruning of whole nodes does little good in the fully connected networks.",
        _weak_nodes,
        nets=FULLY_CONNECTED,
    ),
)
