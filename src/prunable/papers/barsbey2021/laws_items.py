"""Figures 2, 8, 11 and 12: laws of weights, synthetic matrices, a bound, a stable vector."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

from prunable.experiments.reproduce.items import (
    Cell,
    Check,
    Column,
    Convention,
    Findings,
    Item,
    Panel,
    Plan,
    Result,
    Scale,
    Series,
    Table,
)
from prunable.experiments.reproduce.ranks import rank_correlation
from prunable.experiments.train.specs import TrainSpec
from prunable.papers.barsbey2021.gathering import PUBLISHED, Case, falling, network_plan, networks
from prunable.papers.barsbey2021.specs import LayerLawSpec, RhoSpec, StableVectorSpec, SyntheticSpec

CNN_MNIST: Case = ("vgg", "mnist")
# Largest difference of two distribution functions that still counts as none to the eye.
VISIBLE = 0.05
# Of statistical checks of what should be equal: wrongly refuted once in a thousand.
REFUTED = 1e-3
LAWS = {
    "independent": "independent entries",
    "columns": "independent columns",
    "layer": "one vector",
}


def _layer_law(train: TrainSpec, case: Case, scale: Scale, convention: Convention) -> LayerLawSpec:
    del case, scale, convention
    return LayerLawSpec.create(train=train)


def _plan_layer(scale: Scale, convention: Convention) -> Plan:
    plan = network_plan(scale, convention, nets=("vgg",), spec_of=_layer_law)
    runs = {key: spec for key, spec in plan.runs.items() if key.startswith("vgg-mnist/")}
    settings = {k: v for k, v in plan.settings.items() if "CIFAR" not in k}
    notes = tuple(note for note in plan.notes if "CIFAR" not in note)
    return Plan(scale, convention, runs, settings, notes)


def _gather_layer(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found, notes = networks(plan, results, CNN_MNIST)
    target = PUBLISHED.items["fig2"].stated["alpha"]
    statements = (
        "The first and the second half of the filters have one distribution (largest difference "
        f"of the distribution functions at most {VISIBLE})",
        "A stable law of the estimated tail index is nearer to the weights than the normal law "
        "of their standard deviation",
    )
    if not found:
        return Findings(checks=tuple(Check(s, None, "no network") for s in statements))
    chosen = min(found, key=lambda network: abs(network.alpha - target))
    r, runs = chosen.result, (chosen.run_id,)
    edges = np.array(r["edges"])
    middle = tuple((edges[:-1] + edges[1:]) / 2)

    def histogram(*names: str) -> tuple[Series, ...]:
        return tuple(Series(name, middle, tuple(r["counts"][name]), runs=runs) for name in names)

    d = r["distances"]
    panels = (
        Panel(
            "Parts of the layer",
            "weight",
            "count",
            histogram("random half", "other half", "first filters", "last filters"),
            y_log=True,
        ),
        Panel(
            f"Layer and stable law of index {r['alpha']:.3f}",
            "weight",
            "count",
            histogram("weights", "stable"),
            y_log=True,
        ),
    )
    checks = (
        Check(
            statements[0],
            d["filters"] <= VISIBLE,
            f"difference {d['filters']:.3f}, p {r['p_values']['filters']:.2g}",
        ),
        Check(
            statements[1],
            d["stable"] < d["normal_deviation"],
            f"differences {d['stable']:.3f} and {d['normal_deviation']:.3f}; "
            f"normal law of the same quartiles {d['normal_quartiles']:.3f}",
        ),
        Check(
            "Two random halves have one distribution",
            r["p_values"]["halves"] >= REFUTED,
            f"difference {d['halves']:.3f}, p {r['p_values']['halves']:.2g}",
            essential=False,
        ),
    )
    columns = (
        Column("layer", "Layer"),
        Column("n", "Weights", digits=0),
        Column("alpha", "Tail index"),
        Column("training", "Training"),
    )
    row = (
        Cell(r["name"], runs=runs),
        Cell(r["n"], runs=runs),
        Cell(r["alpha"], published=target, runs=runs),
        Cell(chosen.key, runs=runs),
    )
    said = (
        "The largest convolution of the network whose tail index is nearest to the paper's; the "
        "paper does not say which layer it shows.",
        "Random halves of any layer have one distribution by construction, whatever the weights; "
        "halves by filters can differ.",
        *notes,
    )
    return Findings((Table("The layer", columns, (row,)),), panels, checks, said)


def _plan_synthetic(scale: Scale, convention: Convention) -> Plan:
    facts = PUBLISHED.items["fig8"].stated
    size, draws, each = (60, 12, 6) if scale == "smoke" else (facts["size"], facts["draws"], 25)
    low, high = facts["alpha"]
    runs = {
        f"draws {first}": SyntheticSpec.create(
            size=size, first=first, count=each, low=low, high=high, tolerance=facts["tolerance"]
        )
        for first in range(0, draws, each)
    }
    settings = {"matrix": f"{size} x {size}", "draws": draws, "tail index": f"{low} to {high}"}
    return Plan(scale, convention, runs, settings)


def _gather_synthetic(plan: Plan, results: Mapping[str, Result]) -> Findings:
    done = [(key, r) for key, r in results.items() if r["status"] == "done"]
    runs = tuple(plan.runs[key].run_id for key, _ in done)
    found: dict[str, list[float]] = {
        name: [value for _, r in done for value in r[name]] for name in ("alpha", *LAWS)
    }
    alphas = found["alpha"]
    tolerance = PUBLISHED.items["fig8"].stated["tolerance"]
    panels = tuple(
        Panel(
            title,
            "pruning ratio at error 0.1",
            "tail index",
            (Series(title, tuple(found[name]), tuple(alphas), style="points", runs=runs),),
        )
        for name, title in LAWS.items()
    )
    order = falling(
        "With independent entries, heavier tails can be pruned more", alphas, found["independent"]
    )
    gains = {name: _gain(alphas, found[name]) for name in LAWS}
    gain_text = ", ".join(f"{LAWS[name]} {_text(value)}" for name, value in gains.items())
    one = rank_correlation(alphas, found["layer"])
    gaussian = gaussian_share(tolerance)
    far = max((abs(x - gaussian) for x in found["layer"]), default=math.nan)
    checks = (
        order,
        Check(
            "The gain of heavy tails is smaller for dependent columns, and smallest for one vector",
            None if None in gains.values() else _decreasing(list(gains.values())),
            f"mean share at the lowest third of the indices less that at the highest: {gain_text}",
        ),
        Check(
            "Of one isotropic vector as much can be pruned whatever the tail index",
            None if one is None else not _refuted(one.p_negative),
            f"Spearman's rho {one}" if one else "too few draws",
        ),
        Check(
            "That is the share of independent normal numbers, in closed form",
            None if not found["layer"] else far <= 10 / math.sqrt(_entries(plan)),
            f"largest difference {far:.4f} from {gaussian:.4f}",
            essential=False,
        ),
    )
    return Findings((), panels, checks)


def gaussian_share(tolerance: float) -> float:
    """Largest share of normal numbers that can be pruned at a relative error, in the limit.

    Parameters
    ----------
    tolerance : float

    Returns
    -------
    float
        P(|x| < c) where E[x^2; |x| < c] = tolerance^2: the chi-squared law of 3 degrees.
    """
    c = math.sqrt(float(chi2.ppf(tolerance**2, 3)))
    return float(2 * norm.cdf(c) - 1)


def _entries(plan: Plan) -> int:
    return max(spec.size**2 for spec in plan.runs.values() if isinstance(spec, SyntheticSpec))


def _gain(alphas: list[float], shares: list[float]) -> float | None:
    if len(alphas) < 3:
        return None
    order = np.argsort(alphas)
    thirds = np.array_split(np.array(shares)[order], 3)
    return float(thirds[0].mean() - thirds[2].mean())


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _decreasing(values: list[Any]) -> bool:
    return all(a > b for a, b in itertools.pairwise(values))


def _refuted(p_negative: float) -> bool:
    return min(p_negative, 1 - p_negative) < REFUTED / 2


def _plan_rho(scale: Scale, convention: Convention) -> Plan:
    spec = RhoSpec()
    settings: dict[str, str | int] = {
        "epsilon": ", ".join(map(str, spec.epsilons)),
        "points": spec.points,
    }
    return Plan(
        scale, convention, {"rho": spec}, settings, ("The text does not list its epsilon.",)
    )


def _gather_rho(plan: Plan, results: Mapping[str, Result]) -> Findings:
    spec, r = plan.runs["rho"], results["rho"]
    assert isinstance(spec, RhoSpec)
    statements = (
        "rho_eps(kappa) does not fall as kappa grows",
        "It is never above min(3 eps^(1 - kappa), 1)",
        "It is eps at kappa = 0 and 1 at kappa = 1",
        "At 1 / (1 + eps^(2/3)) and beyond it is 1",
    )
    if r["status"] != "done":
        return Findings(checks=tuple(Check(s, None, r["reason"]) for s in statements))
    kappa, curves, upper = np.array(r["kappa"]), np.array(r["rho"]), np.array(r["upper"])
    eps = np.array(spec.epsilons)
    runs = (spec.run_id,)
    x = tuple(r["kappa"])
    series = [
        *(
            Series(f"rho, eps = {e:g}", x, tuple(row), runs=runs)
            for e, row in zip(eps, curves.tolist(), strict=True)
        ),
        *(
            Series(f"upper bound, eps = {e:g}", x, tuple(row), runs=runs)
            for e, row in zip(eps, upper.tolist(), strict=True)
        ),
    ]
    steps = float(np.diff(curves, axis=1).min())
    excess = float((curves - upper).max())
    ends = float(max(np.abs(curves[:, 0] - eps).max(), np.abs(curves[:, -1] - 1).max()))
    beyond = min(
        float(row[kappa >= peak].min()) for row, peak in zip(curves, r["peak"], strict=True)
    )
    evidence = (
        (steps >= -1e-12, f"smallest step {steps:.2g}"),
        (excess <= 1e-12, f"largest excess {excess:.2g}"),
        (ends <= 1e-12, f"largest difference {ends:.2g}"),
        (beyond >= 1 - 1e-12, f"smallest value there {beyond:.4g}"),
    )
    checks = tuple(Check(s, *e) for s, e in zip(statements, evidence, strict=True))
    panel = Panel("Compressibility in the bound of theorem 7", "kappa", "rho", tuple(series))
    return Findings((), (panel,), checks)


def _plan_vector(scale: Scale, convention: Convention) -> Plan:
    facts = PUBLISHED.items["fig12"].stated
    spec = StableVectorSpec.create(alpha=facts["alpha"], size=facts["size"])
    settings = {"tail index": spec.alpha, "numbers": spec.size, "vectors": spec.draws}
    return Plan(scale, convention, {"vector": spec}, settings)


def _gather_vector(plan: Plan, results: Mapping[str, Result]) -> Findings:
    spec, r = plan.runs["vector"], results["vector"]
    statement = "Most of the squared norm lies in one hundredth of the numbers, in most vectors"
    other = "Of normal numbers a hundredth carries less than a tenth"
    if r["status"] != "done":
        return Findings(checks=(Check(statement, None, r["reason"]),))
    edges = np.array(r["edges"])
    middle = tuple((edges[:-1] + edges[1:]) / 2)
    series = Series("|x|", middle, tuple(r["counts"]), style="bars", runs=(spec.run_id,))
    panel = Panel("Magnitudes of stable numbers", "|x|", "count", (series,), y_log=True)
    low, median, high = np.quantile(r["top_share"], (0.05, 0.5, 0.95))
    normal = float(np.median(r["top_share_normal"]))
    checks = (
        Check(
            statement,
            bool(median > 0.5),
            f"median share {median:.2f} (5 % to 95 % of vectors: {low:.2f} to {high:.2f})",
        ),
        Check(other, normal < 0.1, f"median share {normal:.3f}", essential=False),
    )
    note = f"Largest number of the vector shown {r['largest']:.4g}, median {r['median']:.3g}."
    return Findings((), (panel,), checks, (note,))


LAW_ITEMS = (
    Item(
        "barsbey2021-fig2",
        "barsbey2021",
        "figure",
        "Figure 2",
        "Weights of one convolution of a CNN trained on MNIST",
        "The weights of a layer share one distribution, which looks like a stable law.",
        _plan_layer,
        _gather_layer,
    ),
    Item(
        "barsbey2021-fig8",
        "barsbey2021",
        "figure",
        "Figure 8",
        "Tail index against prunability of synthetic matrices of three laws",
        "Heavy tails help pruning where the entries are independent, and dependence takes the "
        "gain away.",
        _plan_synthetic,
        _gather_synthetic,
    ),
    Item(
        "barsbey2021-fig11",
        "barsbey2021",
        "figure",
        "Figure 11",
        "The factor rho_eps(kappa) of the bound for the unpruned network",
        "The factor grows with the kept share and stays below its simple upper bound.",
        _plan_rho,
        _gather_rho,
    ),
    Item(
        "barsbey2021-fig12",
        "barsbey2021",
        "figure",
        "Figure 12",
        "Magnitudes of 10,000 independent stable numbers",
        "The norm of a heavy-tailed vector is that of a few of its entries.",
        _plan_vector,
        _gather_vector,
    ),
)
