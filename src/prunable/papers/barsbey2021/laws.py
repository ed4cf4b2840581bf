"""Figures 2, 8, 11 and 12: laws of weights, synthetic matrices, a bound, a stable vector."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import chi2, norm

from prunable.experiments.reproduce.checks import monotone
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
from prunable.papers.barsbey2021 import specs
from prunable.papers.barsbey2021.networks import networks
from prunable.papers.barsbey2021.settings import PAPER, PUBLISHED, Case, network_plan

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


def _plan_layer(scale: Scale, convention: Convention) -> Plan:
    return network_plan(
        scale, convention, (CNN_MNIST,), lambda train, *_: specs.LayerLawSpec.create(train=train)
    )


def _middles(edges: Sequence[float]) -> tuple[float, ...]:
    return tuple((np.array(edges)[:-1] + np.array(edges)[1:]) / 2)


def _gather_layer(plan: Plan, results: Mapping[str, Result]) -> Findings:
    found, notes = networks(plan, results, CNN_MNIST)
    target = PUBLISHED.items["fig2"].stated["alpha"]
    one_law = (
        "The first and the second half of the filters have one distribution (largest difference "
        f"of the distribution functions at most {VISIBLE})"
    )
    stable_law = (
        "A stable law of the estimated tail index is nearer to the weights than the normal law "
        "of their standard deviation"
    )
    if not found:
        return Findings(checks=tuple(Check(s, None, "no network") for s in (one_law, stable_law)))
    chosen = min(found, key=lambda network: abs(network.alpha - target))
    r, runs = chosen.result, (chosen.run_id,)
    middle = _middles(r["edges"])

    def histograms(title: str, *names: str) -> Panel:
        shown = (Series(name, middle, tuple(r["counts"][name]), runs=runs) for name in names)
        return Panel(title, "weight", "count", tuple(shown), y_log=True)

    halves = ("random half", "other half", "first filters", "last filters")
    panels = (
        histograms("Parts of the layer", *halves),
        histograms(f"Layer and stable law of index {r['alpha']:.3f}", "weights", "stable"),
    )
    d, p_values = r["distances"], r["p_values"]
    checks = (
        Check(
            one_law,
            d["filters"] <= VISIBLE,
            f"difference {d['filters']:.3f}, p {p_values['filters']:.2g}",
        ),
        Check(
            stable_law,
            d["stable"] < d["normal_deviation"],
            f"differences {d['stable']:.3f} and {d['normal_deviation']:.3f}; "
            f"normal law of the same quartiles {d['normal_quartiles']:.3f}",
        ),
        Check(
            "Two random halves have one distribution",
            p_values["halves"] >= REFUTED,
            f"difference {d['halves']:.3f}, p {p_values['halves']:.2g}",
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
        f"draws {first}": specs.SyntheticSpec.create(
            size=size, first=first, count=each, low=low, high=high, tolerance=facts["tolerance"]
        )
        for first in range(0, draws, each)
    }
    settings = {"matrix": f"{size} x {size}", "draws": draws, "tail index": f"{low} to {high}"}
    return Plan(scale, convention, runs, settings)


def _gather_synthetic(plan: Plan, results: Mapping[str, Result]) -> Findings:
    done = [key for key, result in results.items() if result["status"] == "done"]
    runs = tuple(plan.runs[key].run_id for key in done)
    found: dict[str, list[float]] = {
        name: [value for key in done for value in results[key][name]] for name in ("alpha", *LAWS)
    }
    alphas, layer = found["alpha"], found["layer"]
    panels = tuple(
        Panel(
            title,
            "pruning ratio at error 0.1",
            "tail index",
            (Series(title, tuple(found[name]), tuple(alphas), style="points", runs=runs),),
        )
        for name, title in LAWS.items()
    )
    gains = {title: _gain(alphas, found[name]) for name, title in LAWS.items()}
    known = [gain for gain in gains.values() if gain is not None]
    gain_text = ", ".join(
        f"{title} " + ("unknown" if gain is None else f"{gain:.4f}")
        for title, gain in gains.items()
    )
    one = rank_correlation(alphas, layer)
    gaussian = gaussian_share(PUBLISHED.items["fig8"].stated["tolerance"])
    far = max((abs(x - gaussian) for x in layer), default=math.nan)
    sizes = [spec.size for spec in plan.runs.values() if isinstance(spec, specs.SyntheticSpec)]
    checks = (
        monotone(
            "With independent entries, heavier tails can be pruned more",
            alphas,
            found["independent"],
        ),
        Check(
            "The gain of heavy tails is smaller for dependent columns, and smallest for one vector",
            all(a > b for a, b in itertools.pairwise(known)) if len(known) == len(LAWS) else None,
            f"mean share at the lowest third of the indices less that at the highest: {gain_text}",
        ),
        Check(
            "Of one isotropic vector as much can be pruned whatever the tail index",
            None if one is None else min(one.p_negative, 1 - one.p_negative) >= REFUTED / 2,
            f"Spearman's rho {one}" if one else "too few draws",
        ),
        Check(
            "That is the share of independent normal numbers, in closed form",
            far <= 10 / max(sizes) if layer else None,
            f"largest difference {far:.4f} from {gaussian:.4f}",
            essential=False,
        ),
    )
    return Findings((), panels, checks)


def gaussian_share(tolerance: float) -> float:
    """Largest share of normal numbers that can be pruned at a relative error, in the limit.

    P(|x| < c) where E[x^2; |x| < c] = tolerance^2: the chi-squared law of 3 degrees.
    """
    c = math.sqrt(float(chi2.ppf(tolerance**2, 3)))
    return float(2 * norm.cdf(c) - 1)


def _gain(alphas: list[float], shares: list[float]) -> float | None:
    if len(alphas) < 3:
        return None
    thirds = np.array_split(np.array(shares)[np.argsort(alphas)], 3)
    return float(thirds[0].mean() - thirds[2].mean())


def _plan_rho(scale: Scale, convention: Convention) -> Plan:
    spec = specs.RhoSpec()
    return Plan(
        scale,
        convention,
        {"rho": spec},
        {"epsilon": ", ".join(map(str, spec.epsilons)), "points": spec.points},
        ("The text does not list its epsilon.",),
    )


def _gather_rho(plan: Plan, results: Mapping[str, Result]) -> Findings:
    spec, r = plan.runs["rho"], results["rho"]
    assert isinstance(spec, specs.RhoSpec)
    statements = (
        "rho_eps(kappa) does not fall as kappa grows",
        "It is never above min(3 eps^(1 - kappa), 1)",
        "It is eps at kappa = 0 and 1 at kappa = 1",
        "At 1 / (1 + eps^(2/3)) and beyond it is 1",
    )
    if r["status"] != "done":
        return Findings(checks=tuple(Check(s, None, r["reason"]) for s in statements))
    kappa, curves, upper = np.array(r["kappa"]), np.array(r["rho"]), np.array(r["upper"])
    series = tuple(
        Series(f"{name}, eps = {eps:g}", tuple(r["kappa"]), tuple(row), runs=(spec.run_id,))
        for name, rows in (("rho", r["rho"]), ("upper bound", r["upper"]))
        for eps, row in zip(spec.epsilons, rows, strict=True)
    )
    starts = np.abs(curves[:, 0] - np.array(spec.epsilons)).max()
    steps = float(np.diff(curves, axis=1).min())
    excess = float((curves - upper).max())
    ends = float(max(starts, np.abs(curves[:, -1] - 1).max()))
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
    panel = Panel("Compressibility in the bound of theorem 7", "kappa", "rho", series)
    return Findings((), (panel,), checks)


def _plan_vector(scale: Scale, convention: Convention) -> Plan:
    facts = PUBLISHED.items["fig12"].stated
    spec = specs.StableVectorSpec.create(alpha=facts["alpha"], size=facts["size"])
    settings = {"tail index": spec.alpha, "numbers": spec.size, "vectors": spec.draws}
    return Plan(scale, convention, {"vector": spec}, settings)


def _gather_vector(plan: Plan, results: Mapping[str, Result]) -> Findings:
    r = results["vector"]
    statement = "Most of the squared norm lies in one hundredth of the numbers, in most vectors"
    if r["status"] != "done":
        return Findings(checks=(Check(statement, None, r["reason"]),))
    runs = (plan.runs["vector"].run_id,)
    series = Series("|x|", _middles(r["edges"]), tuple(r["counts"]), style="bars", runs=runs)
    panel = Panel("Magnitudes of stable numbers", "|x|", "count", (series,), y_log=True)
    low, median, high = np.quantile(r["top_share"], (0.05, 0.5, 0.95))
    normal = float(np.median(r["top_share_normal"]))
    checks = (
        Check(
            statement,
            bool(median > 0.5),
            f"median share {median:.2f} (5 % to 95 % of vectors: {low:.2f} to {high:.2f})",
        ),
        Check(
            "Of normal numbers a hundredth carries less than a tenth",
            normal < 0.1,
            f"median share {normal:.3f}",
            essential=False,
        ),
    )
    note = f"Largest number of the vector shown {r['largest']:.4g}, median {r['median']:.3g}."
    return Findings((), (panel,), checks, (note,))


FIGURES = (
    Item(
        "barsbey2021-fig2",
        PAPER,
        "figure",
        "Figure 2",
        "Weights of one convolution of a CNN trained on MNIST",
        "The weights of a layer share one distribution, which looks like a stable law.",
        _plan_layer,
        _gather_layer,
    ),
    Item(
        "barsbey2021-fig8",
        PAPER,
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
        PAPER,
        "figure",
        "Figure 11",
        "The factor rho_eps(kappa) of the bound for the unpruned network",
        "The factor grows with the kept share and stays below its simple upper bound.",
        _plan_rho,
        _gather_rho,
    ),
    Item(
        "barsbey2021-fig12",
        PAPER,
        "figure",
        "Figure 12",
        "Magnitudes of 10,000 independent stable numbers",
        "The norm of a heavy-tailed vector is that of a few of its entries.",
        _plan_vector,
        _gather_vector,
    ),
)
