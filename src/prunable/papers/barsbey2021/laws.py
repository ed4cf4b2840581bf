"""Figures 2, 8, 11 and 12: laws of weights, synthetic matrices, a bound, a stable vector."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import (
    LEVEL,
    at_reduced_size,
    monotone,
    near,
    undecided,
    underpowered,
)
from prunable.experiments.reproduce.frame import Found, Result
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.ranks import rank_correlation
from prunable.papers.barsbey2021 import specs
from prunable.papers.barsbey2021.groups import networks
from prunable.papers.barsbey2021.settings import PAPER, PUBLISHED, Case, network_plan

CNN_MNIST: Case = ("vgg", "mnist")
# Largest difference of two distribution functions that still counts as none to the eye.
VISIBLE = 0.05
# Of statistical checks of what should be equal: wrongly refuted once in a thousand.
REFUTED = 1e-3
ONE_LAW = (
    "The first and the second half of the filters have one distribution (largest difference "
    f"of the distribution functions at most {VISIBLE})"
)
HEAVY = "The layer's tail index is below that of Gaussian weights of its shape"
STABLE_LAW = (
    "A stable law of the estimated tail index is nearer to the weights than the normal law of "
    "the same quartiles, by more than for Gaussian weights"
)
LAWS = {
    "independent": "independent entries",
    "columns": "independent columns",
    "layer": "one vector",
}


def _plan_layer(scale: document.Scale, convention: document.Convention) -> Plan:
    return network_plan(
        scale, convention, (CNN_MNIST,), lambda train, *_: specs.LayerLawSpec.create(train=train)
    )


def _middles(edges: Sequence[float]) -> tuple[float, ...]:
    return tuple((np.array(edges)[:-1] + np.array(edges)[1:]) / 2)


def _gather_layer(plan: Plan, results: Mapping[str, Result]) -> document.Findings:
    found, notes = networks(plan, results, CNN_MNIST)
    target = PUBLISHED.items["fig2"].stated["alpha"]
    if not found:
        return document.Findings(
            checks=tuple(undecided(s, "no network") for s in (ONE_LAW, HEAVY, STABLE_LAW)),
            notes=tuple(notes),
        )
    r = min(found, key=lambda network: abs(float(network["alpha"]) - target))

    def histograms(title: str, *names: str) -> document.Panel:
        x, counts = _middles(r["edges"]), r["counts"]
        shown = (document.Series(name, x, tuple(counts[name]), runs=r["runs"]) for name in names)
        return document.Panel(title, "weight", "count", tuple(shown), y_log=True)

    gaussian = Interval.of(r["gaussian_alphas"])
    panels = (
        histograms("A random partition, as the paper's", "random half", "other half"),
        histograms("Halves of the filters", "first filters", "last filters"),
        histograms(
            f"Layer, and stable law of index {r['alpha']:.3f} ± {gaussian.std:.3f}",
            "weights",
            "stable",
        ),
    )
    distance, p = r["distances"]["filters"], r["p_values"]["filters"]
    checks = (
        document.Check(ONE_LAW, distance <= VISIBLE, f"difference {distance:.3f}, p {p:.2g}"),
        *_law_checks(r, target),
    )
    columns = (
        document.Column("layer", "Layer"),
        document.Column("n", "Weights", digits=0),
        document.Column("alpha", "Tail index"),
        document.Column("gaussian", "Of Gaussian weights"),
        document.Column("training", "Training"),
    )
    row = (
        document.Cell(r["name"], runs=r["runs"]),
        document.Cell(r["n"], runs=r["runs"]),
        document.Cell(r["alpha"], gaussian.std, target, runs=r["runs"]),
        document.Cell(gaussian.mean, gaussian.std, runs=r["runs"]),
        document.Cell(r["key"], runs=r["runs"]),
    )
    notes = [
        "The largest convolution of the network whose tail index is nearest to the paper's, a "
        "choice in favour of its claim; the paper does not say which layer it shows.",
        "The paper compares the halves of a random partition. They have one distribution whatever "
        f"the weights (here difference {r['distances']['halves']:.3f}, p "
        f"{r['p_values']['halves']:.2g}): that comparison cannot fail and is no evidence; halves "
        "by filters can differ.",
        *notes,
    ]
    return document.Findings(
        (document.Table("The layer", columns, (row,)),), panels, checks, tuple(notes)
    )


@dataclass(frozen=True)
class Interval:
    """What layers of Gaussian weights give: mean, deviation, central 95 %."""

    mean: float
    std: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Of draws."""
        low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)), float(low), float(high))


def _law_checks(r: Result, target: float) -> Iterator[document.Check]:
    """What a layer shows beyond what Gaussian weights of its shape show by chance."""
    alphas, gains = Interval.of(r["gaussian_alphas"]), Interval.of(r["gaussian_gains"])
    d = r["distances"]
    gain = d["normal_quartiles"] - d["stable"]
    said = (
        f"{r['alpha']:.3f}; Gaussian layers give {alphas.mean:.3f} ± {alphas.std:.3f}, 95 % within "
        f"{alphas.low:.3f} to {alphas.high:.3f}"
    )
    laws = (
        f"differences {d['stable']:.4f} and {d['normal_quartiles']:.4f}; of Gaussian layers the "
        f"stable law is nearer by {gains.low:.4f} to {gains.high:.4f} in 95 %; normal law of the "
        f"standard deviation {d['normal_deviation']:.4f}"
    )
    # the index that the paper reports would lie outside what Gaussian layers give
    seen = target < alphas.low
    quotient = (alphas.mean - alphas.low) / (alphas.mean - target)
    needs = f"about {r['n'] * quotient**2:,.0f} weights"
    for statement, holds, against, evidence in (
        (HEAVY, r["alpha"] < alphas.low, False, said),
        (STABLE_LAW, gain > gains.high, gain < min(gains.low, 0.0), laws),
    ):
        if holds or seen or against:
            outcome: document.Outcome = "holds" if holds else "fails"
            outcome = "contradicted" if against else outcome
            yield document.Check(statement, holds, evidence, outcome=outcome)
        else:
            yield underpowered(statement, evidence, needs)
    printed = near(
        f"The tail index is within 0.01 of the printed {target:g}",
        [(r["name"], r["alpha"], target)],
        0.01,
    )
    yield at_reduced_size(printed, "another network and layer")


def _plan_synthetic(scale: document.Scale, convention: document.Convention) -> Plan:
    facts = PUBLISHED.items["fig8"].stated
    size, draws, each = (60, 12, 6) if scale == "smoke" else (facts["size"], facts["draws"], 25)
    low, high = facts["alpha"]
    shared = {"size": size, "low": low, "high": high, "tolerance": facts["tolerance"]}
    runs = {
        f"draws {first}": specs.SyntheticSpec.create(first=first, count=each, **shared)
        for first in range(0, draws, each)
    }
    settings = {"matrix": f"{size} x {size}", "draws": draws, "tail index": f"{low} to {high}"}
    return Plan(scale, convention, runs, settings)


def _all_draws(found: Found, name: str) -> tuple[float, ...]:
    return tuple(value for result in found.usable.values() for value in result[name])


def _panel_synthetic(found: Found) -> document.Panel:
    """All three laws on the same axes: what one vector's shares vary is then seen to be nothing."""
    runs = tuple(found.plan.runs[key].run_id for key in found.usable)
    series = tuple(
        document.Series(
            title, _all_draws(found, name), _all_draws(found, "alpha"), style="points", runs=runs
        )
        for name, title in LAWS.items()
    )
    title = "Synthetic matrices"
    return document.Panel(title, "pruning ratio at error 0.1", "tail index", series)


def _claims_synthetic(found: Found) -> Iterator[document.Check]:
    alphas, layer = _all_draws(found, "alpha"), _all_draws(found, "layer")
    yield monotone(
        "With independent entries, heavier tails can be pruned more",
        alphas,
        _all_draws(found, "independent"),
        unit="draws",
    )
    statement = (
        "The gain of heavy tails is smaller for dependent columns, and smallest for one vector"
    )
    if len(alphas) < 3:
        yield undecided(statement, "too few draws")
    else:
        gains = {title: _gain(alphas, _all_draws(found, name)) for name, title in LAWS.items()}
        said = ", ".join(f"{title} {gain:.4f}" for title, gain in gains.items())
        yield document.Check(
            statement,
            all(a > b for a, b in itertools.pairwise(gains.values())),
            f"mean share at the lowest third of the indices less that at the highest: {said}",
        )
    one = rank_correlation(alphas, layer)
    yield document.Check(
        "Of one isotropic vector as much can be pruned whatever the tail index",
        None if one is None else min(one.p_negative, 1 - one.p_negative) >= REFUTED / 2,
        f"Spearman's rho {one}" if one else "too few draws",
    )
    gaussian = gaussian_share(PUBLISHED.items["fig8"].stated["tolerance"])
    far = max((abs(x - gaussian) for x in layer), default=math.nan)
    sizes = [s.size for s in found.plan.runs.values() if isinstance(s, specs.SyntheticSpec)]
    yield document.Check(
        "That is the share of independent normal numbers, in closed form",
        far <= 10 / max(sizes) if layer else None,
        f"largest difference {far:.4f} from {gaussian:.4f}",
    ).aside()


def _gain(alphas: Sequence[float], shares: Sequence[float]) -> float:
    thirds = np.array_split(np.array(shares)[np.argsort(alphas)], 3)
    return float(thirds[0].mean() - thirds[2].mean())


def gaussian_share(tolerance: float) -> float:
    """Largest share of normal numbers that can be pruned at a relative error, in the limit.

    P(|x| < c) where E[x^2; |x| < c] = tolerance^2: the chi-squared law of 3 degrees.
    """
    c = math.sqrt(float(chi2.ppf(tolerance**2, 3)))
    return float(2 * norm.cdf(c) - 1)


def _plan_rho(scale: document.Scale, convention: document.Convention) -> Plan:
    spec = specs.RhoSpec()
    return Plan(
        scale,
        convention,
        {"rho": spec},
        {"epsilon": ", ".join(map(str, spec.epsilons)), "points": spec.points},
        ("The text does not list its epsilon.",),
    )


def _panel_rho(found: Found) -> Iterator[document.Panel]:
    for r in found.usable.values():
        spec = found.plan.runs["rho"]
        assert isinstance(spec, specs.RhoSpec)
        series = tuple(
            document.Series(
                f"{name}, eps = {eps:g}", tuple(r["kappa"]), tuple(row), runs=(spec.run_id,)
            )
            for name, rows in (("rho", r["rho"]), ("upper bound", r["upper"]))
            for eps, row in zip(spec.epsilons, rows, strict=True)
        )
        yield document.Panel("Compressibility in the bound of theorem 7", "kappa", "rho", series)


def _claims_rho(found: Found) -> Iterator[document.Check]:
    statements = (
        "rho_eps(kappa) does not fall as kappa grows",
        "It is never above min(3 eps^(1 - kappa), 1)",
        "It is eps at kappa = 0 and 1 at kappa = 1",
        "At 1 / (1 + eps^(2/3)) and beyond it is 1",
    )
    spec, r = found.plan.runs["rho"], found.results["rho"]
    if not found.usable:
        yield from (undecided(statement, r["reason"]) for statement in statements)
        return
    assert isinstance(spec, specs.RhoSpec)
    kappa, curves, upper = np.array(r["kappa"]), np.array(r["rho"]), np.array(r["upper"])
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
    yield from (document.Check(s, *said) for s, said in zip(statements, evidence, strict=True))


def _plan_vector(scale: document.Scale, convention: document.Convention) -> Plan:
    facts = PUBLISHED.items["fig12"].stated
    spec = specs.StableVectorSpec.create(alpha=facts["alpha"], size=facts["size"])
    settings = {"tail index": spec.alpha, "numbers": spec.size, "vectors": spec.draws}
    return Plan(scale, convention, {"vector": spec}, settings)


def _panel_vector(found: Found) -> Iterator[document.Panel]:
    for r in found.usable.values():
        x, runs = _middles(r["edges"]), (found.plan.runs["vector"].run_id,)
        series = document.Series("|x|", x, tuple(r["counts"]), style="bars", runs=runs)
        yield document.Panel("Magnitudes of stable numbers", "|x|", "count", (series,), y_log=True)


def _claims_vector(found: Found) -> Iterator[document.Check]:
    statement = "Most of the squared norm lies in one hundredth of the numbers, in most vectors"
    r = found.results["vector"]
    if not found.usable:
        yield undecided(statement, r["reason"])
        return
    low, median, high = np.quantile(r["top_share"], (0.05, 0.5, 0.95))
    text = f"median share {median:.2f} (5 % to 95 % of vectors: {low:.2f} to {high:.2f})"
    yield document.Check(statement, bool(median > 0.5), text)
    normal = float(np.median(r["top_share_normal"]))
    statement = "Of normal numbers a hundredth carries less than a tenth"
    yield document.Check(statement, normal < 0.1, f"median share {normal:.3f}").aside()


def _note_vector(found: Found) -> Iterator[str]:
    for r in found.usable.values():
        yield f"Largest number of the vector shown {r['largest']:.4g}, median {r['median']:.3g}."


FIGURES = (
    Item.of(
        PAPER,
        "Figure 2",
        "Weights of one convolution of a CNN trained on MNIST",
        "The weights of a layer share one distribution, which looks like a stable law.",
        _plan_layer,
        _gather_layer,
    ),
    Item.of(
        PAPER,
        "Figure 8",
        "Tail index against prunability of synthetic matrices of three laws",
        "Heavy tails help pruning where the entries are independent, and dependence takes the "
        "gain away.",
        _plan_synthetic,
        Gather((), (_panel_synthetic,), (_claims_synthetic,)),
    ),
    Item.of(
        PAPER,
        "Figure 11",
        "The factor rho_eps(kappa) of the bound for the unpruned network",
        "The factor grows with the kept share and stays below its simple upper bound.",
        _plan_rho,
        Gather((), (_panel_rho,), (_claims_rho,)),
    ),
    Item.of(
        PAPER,
        "Figure 12",
        "Magnitudes of 10,000 independent stable numbers",
        "The norm of a heavy-tailed vector is that of a few of its entries.",
        _plan_vector,
        Gather((), (_panel_vector,), (_claims_vector,), (_note_vector,)),
    ),
)
