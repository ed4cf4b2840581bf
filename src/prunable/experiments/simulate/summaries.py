"""From rows of the experiments on dynamics to fitted exponents, tables and panels."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from prunable.experiments.simulate.specs import CompressionSpec, IndependenceSpec
from prunable.numerics.dynamics.compression import (
    asymptotic_errors,
    asymptotic_exponent,
    expected_maximum_bound,
    expected_maximum_limit,
    largest_step,
    printed_constant_holds,
    printed_maximum_constant,
)
from prunable.numerics.dynamics.fitted_rates import Claim, compare, fit_exponent
from prunable.numerics.dynamics.sgd_tail import LinearRegressionSgd, tail_index
from prunable.numerics.randomness import rng

BOUND, EXACT = Claim.UPPER_BOUND, Claim.EXACT
Rows = Sequence[tuple[Any, dict[str, Any]]]
Summary = dict[str, Any]


def _chaos(rows: Rows) -> Summary:
    rates, panels, table, notes = [], [], [], []
    chaos = [(spec, row) for spec, row in rows if not isinstance(spec, IndependenceSpec)]
    for name, title in (
        ("largest", "Theorem 4.2: farthest particle"),
        ("mean", "The same, average particle"),
    ):
        series = []
        for alpha, group in _by_alpha(chaos).items():
            widths, errors = group[0][0].widths, [row[name] for _, row in group]
            rates.append(_rate(title, alpha, "n", widths, errors, -0.5, BOUND))
            series.append(_series(f"alpha = {alpha:g}", widths, errors))
        series.append(_guide("n^(-1/2)", series[0], -0.5))
        panels.append(_panel(title, "n, particles", "distance to the limit's particles", series))
    worst = max(row["reference_error"] / row["largest"][-1] for _, row in chaos)
    notes.append(
        "The limit is driven by one large system; two of them, drawn independently, put its own "
        f"error at no more than {100 * worst:.1f} % of the smallest distance measured."
    )
    series = []
    for spec, row in rows:
        if not isinstance(spec, IndependenceSpec):
            continue
        for name in ("distance_covariance", "hsic"):
            for width, found in zip(spec.widths, row[name], strict=True):
                numbers = (found[key] for key in ("statistic", "null_std", "p_value"))
                table.append([spec.alpha, name.replace("_", " "), width, *numbers])
        values = [abs(found["statistic"]) for found in row["distance_covariance"]]
        series.append(_series(f"alpha = {spec.alpha:g}", spec.widths, [values]))
        noise = np.mean([found["null_std"] for found in row["distance_covariance"]])
        if len(series) == 1:
            level = [float(noise)] * len(spec.widths)
            series.append(_series("permuted: standard deviation", spec.widths, [level], "guide"))
    if series:
        series.append(_guide("n^(-2)", series[0], -2.0))
        panels.append(
            _panel(
                "Columns become independent",
                "n, particles",
                "distance correlation², |value|",
                series,
            )
        )
    columns = ["alpha", "measure", "n", "statistic", "std if independent", "p-value"]
    return _summary(rates, panels, notes, columns, table)


def _euler(rows: Rows) -> Summary:
    rates, panels = [], []
    steps: list[Summary] = []
    widths: list[Summary] = []
    decay: list[Summary] = []
    for alpha, group in _by_alpha(rows).items():
        spec = group[0][0]
        # errors fall with the number of steps: the theorem's eta^(1/alpha) is its -1/alpha
        found = [row["steps"] for _, row in group]
        title, exponent = "Theorem 4.1: steps", -1 / alpha
        rates.append(_rate(title, alpha, "1/eta", spec.step_counts, found, exponent, BOUND))
        steps.append(_series(f"alpha = {alpha:g}", spec.step_counts, found))
        for name, title, kept in (
            ("widths", "Theorem 4.1: width", widths),
            ("widths_decay", "Width, with weight decay", decay),
        ):
            found = [row[name] for _, row in group]
            claim = BOUND if name == "widths" else EXACT
            rates.append(_rate(title, alpha, "n", spec.widths, found, 1 / alpha, claim))
            kept.append(_series(f"alpha = {alpha:g}", spec.widths, found))
    alpha = rows[0][0].alpha
    steps.append(_guide(f"eta^(1/{alpha:g})", steps[0], -1 / alpha))
    steps.append(_guide("eta", steps[0], -1.0))
    what = "error of the farthest particle"
    panels.append(_panel("Theorem 4.1: error against steps", "steps, 1/eta", what, steps))
    for title, kept in (("Bounded drift", widths), ("With weight decay", decay)):
        kept.append(_guide(f"n^(1/{alpha:g})", kept[0], 1 / alpha))
        panels.append(_panel(f"{title}: error against n", "n, particles", what, kept))
    notes = [
        "The theorem bounds the error by (eta n)^(1/alpha). With a smooth drift and additive "
        "noise the scheme is of order about 1 in eta.",
        "With the theorem's bounded drift a jump, however large, costs at most the order of eta, "
        "so the largest error hardly grows with n. Weight decay makes the drift unbounded, "
        "outside the theorem's assumption: there the largest jump of n particles decides, and "
        "the growth is n^(1/alpha).",
    ]
    return _summary(rates, panels, notes)


def _moments(rows: Rows) -> Summary:
    rates, table = [], []
    moments, maxima = [], []
    for alpha, group in _by_alpha(rows).items():
        sizes = group[0][0].sizes
        found = [row["second_moment"] for _, row in group]
        title = "Theorem 4.3: empirical second moment"
        rates.append(_rate(title, alpha, "N", sizes, found, 2 / alpha - 1, EXACT))
        moments.append(_series(f"alpha = {alpha:g}", sizes, found))
        found = [row["maximum"] for _, row in group]
        if alpha == 2:
            continue
        title = "Lemma B.1: largest of n"
        rates.append(_rate(title, alpha, "n", sizes, found, 1 / alpha, EXACT))
        maxima.append(_series(f"alpha = {alpha:g}", sizes, found))
        measured = float(np.mean([row[-1] for row in found]))
        n = sizes[-1]
        printed = printed_maximum_constant(alpha) * n ** (1 / alpha)
        limit, bound = expected_maximum_limit(alpha, n), expected_maximum_bound(alpha, n)
        table.append([alpha, n, measured, limit, bound, printed])
    panels = [
        _panel(
            "Theorem 4.3: no second moment",
            "N, particles averaged",
            "mean of ||theta||², typical",
            moments,
        )
    ]
    if maxima:
        panels.append(
            _panel("Lemma B.1: largest of n stable", "n", "mean of the largest |X|", maxima)
        )
    (low, high), (limit_low, _) = printed_constant_holds(1), printed_constant_holds(None)
    notes = [
        "The mean over N particles of ||theta||^2 has no expectation; its typical value (the "
        "geometric mean over samples) grows as N^(2/alpha - 1).",
        "The exponent 1/alpha of lemma B.1 is exact. Its constant 8 C + 1 is too small for alpha "
        f"below {limit_low:.3f} as n grows, since the mean grows without bound as alpha falls to "
        f"1, and at n = 1 below {low:.3f} and above {high:.3f}, where C is too small for the body "
        "of the law; 1 + B/(alpha - 1), B = sup t^alpha P(|X| > t), holds for all alpha above 1.",
    ]
    columns = ["alpha", "n", "measured", "limit", "1 + B/(alpha - 1)", "8 C + 1"]
    return _summary(rates, panels, notes, columns, table)


def _compression(rows: Rows) -> Summary:
    rates, panels, table = [], [], []
    grouped = _by_alpha(rows)
    spec = rows[0][0]
    p_two = spec.p.index(2.0)
    shown = min(1, len(spec.kappas) - 1)
    weights, columns = [], []
    for alpha, group in grouped.items():
        for k, kappa in enumerate(spec.kappas):
            for place, p in enumerate(spec.p):
                found = [[at[place][k] for at in row["weights"]] for _, row in group]
                draws = rng(0, "limit", repr(alpha), repr(kappa), repr(p))
                limit = [
                    float(asymptotic_errors(alpha, d, kappa, p, 20_000, rng=draws).mean())
                    for d in spec.dimensions
                ]
                for d, row, wanted in zip(
                    spec.dimensions, np.mean(found, axis=0), limit, strict=True
                ):
                    table.append([alpha, kappa, p, d, float(row), wanted])
                if p > alpha:
                    title = f"Independent weights, kappa = {kappa:g}"
                    exponent = asymptotic_exponent(alpha, p)
                    rates.append(_rate(title, alpha, "d", spec.dimensions, found, exponent, EXACT))
                if p == 2 and k == shown:
                    weights.append(_series(f"alpha = {alpha:g}", spec.dimensions, found))
                    weights.append(_series("limit law", spec.dimensions, [limit], "guide"))
            found = [[at[p_two][k] for at in row["columns"]] for _, row in group]
            title, rate = f"Theorem 3.1: columns, kappa = {kappa:g}", asymptotic_exponent(alpha, 2)
            rates.append(_rate(title, alpha, "n", spec.widths, found, rate, EXACT))
            if k == shown:
                columns.append(_series(f"alpha = {alpha:g}", spec.widths, found))
    kappa = spec.kappas[shown]
    panels.append(
        _panel(
            f"Independent weights, kappa = {kappa:g}", "d, weights", "relative l2 error", weights
        )
    )
    panels.append(
        _panel(
            f"Theorem 3.1, kappa = {kappa:g}", "n, particles", "relative Frobenius error", columns
        )
    )
    notes = [
        "Theorem 3.1 says that the error tends to 0, without a rate. The limit law of independent "
        "stable weights gives n^(1/2 - 1/alpha), which is slow near alpha = 2: -0.17, -0.07 and "
        "-0.03 at alpha 1.5, 1.75 and 1.9.",
        "For p < alpha the error tends to a constant that is smaller for heavier tails "
        "(proposition 8 of the 2021 paper, which holds for these laws).",
        _step_note(spec, grouped),
    ]
    names = ["alpha", "kappa", "p", "d", "measured", "limit law"]
    return _summary(rates, panels, notes, names, table)


def _step_note(spec: CompressionSpec, alphas: Iterable[float]) -> str:
    """Theorem 3.1's condition on the step size against what is simulated."""
    eta, n = spec.horizon / spec.steps, max(spec.widths)
    most = ", ".join(f"{largest_step(n, alpha):.1e} at alpha = {alpha:g}" for alpha in alphas)
    return (
        "Theorem 3.1 asks for eta <= n^(-alpha/2 - 1), which these systems violate: eta is "
        f"{eta:g}, and at n = {n:,} it would have to be at most {most}. The paper's own table 1, "
        f"with eta = 3e-4 at n = 2,000, exceeds {largest_step(2000, 1.75):.1e} at alpha = 1.75. "
        "The error falls all the same: the condition is sufficient."
    )


def _sgd_tail(rows: Rows) -> Summary:
    table, panels, far = [], [], 0
    for dim in dict.fromkeys(spec.dim for spec, _ in rows):
        series = []
        for batch in dict.fromkeys(spec.batch for spec, _ in rows if spec.dim == dim):
            group = [(s, r) for s, r in rows if s.dim == dim and s.batch == batch]
            for spec, row in group:
                deviation = (row["simulated"] - row["exact"]) / row["simulated_stderr"]
                far += abs(deviation) > 3
                found = [row[key] for key in ("exact", "simulated", "simulated_stderr")]
                drawn = [row[key] for key in ("monte_carlo", "monte_carlo_stderr")]
                step = spec.eta / batch
                table.append([dim, batch, spec.eta, step, *found, deviation, *drawn])
            ratios = [spec.eta / batch for spec, _ in group]
            error = [row["simulated_stderr"] for _, row in group]
            middle = [row["simulated"] for _, row in group]
            series.append(
                {
                    "label": f"b = {batch}, simulated",
                    "x": ratios,
                    "y": middle,
                    "style": "points",
                    "low": [m - 2 * e for m, e in zip(middle, error, strict=True)],
                    "high": [m + 2 * e for m, e in zip(middle, error, strict=True)],
                }
            )
            etas = np.linspace(min(s.eta for s, _ in group), max(s.eta for s, _ in group), 9)
            exact = [tail_index(LinearRegressionSgd(float(eta), batch, dim)) for eta in etas]
            series.append(
                {
                    "label": f"b = {batch}, exact",
                    "x": (etas / batch).tolist(),
                    "y": exact,
                    "style": "line",
                }
            )
        panels.append(_panel(f"Tail index of SGD, d = {dim}", "eta / b", "alpha", series, "linear"))
    notes = [
        "The exact index solves E||(I - (eta/b) sum x x^T) e_1||^alpha = 1 by an integral over "
        "two chi-square variables, to 1e-9; monotone in eta and b at fixed dimension.",
        f"Hill's estimate on simulated chains is more than 3 standard errors away in {far} of "
        f"{len(rows)} settings. Its bias grows with alpha; below alpha = 3 it is small.",
    ]
    columns = ["d", "b", "eta", "eta/b", "exact", "simulated", "std. error", "deviation"]
    return _summary([], panels, notes, [*columns, "root of drawn steps", "its std. error"], table)


SUMMARIES: dict[str, Callable[[Rows], Summary]] = {
    "chaos": _chaos,
    "euler": _euler,
    "moments": _moments,
    "compression": _compression,
    "sgd-tail": _sgd_tail,
}


def _by_alpha(rows: Rows) -> dict[float, list[tuple[Any, dict[str, Any]]]]:
    groups: dict[float, list[tuple[Any, dict[str, Any]]]] = {}
    for spec, row in rows:
        groups.setdefault(spec.alpha, []).append((spec, row))
    return groups


def _rate(
    name: str, alpha: float, size: str, sizes: Any, errors: Any, theorem: float, claim: Claim
) -> dict[str, Any]:
    found = fit_exponent(sizes, errors)
    return {
        "name": name,
        "alpha": alpha,
        "size": size,
        "theorem": theorem,
        "claim": claim.value,
        **found.to_dict(),
        "agreement": compare(found, theorem, claim).value,
    }


def _series(label: str, x: Any, y: Any, style: str = "line") -> dict[str, Any]:
    mean = np.mean(y, axis=0)
    found: dict[str, Any] = {
        "label": label,
        "x": [float(v) for v in x],
        "y": mean.tolist(),
        "style": style,
    }
    if len(y) > 1:
        reach = 2 * np.std(y, axis=0, ddof=1) / math.sqrt(len(y))
        found["low"] = np.maximum(mean - reach, mean / 10).tolist()
        found["high"] = (mean + reach).tolist()
    return found


def _guide(label: str, of: dict[str, Any], exponent: float) -> dict[str, Any]:
    x = of["x"]
    y = [0.7 * of["y"][0] * (v / x[0]) ** exponent for v in x]
    return {"label": label, "x": x, "y": y, "style": "guide"}


def _panel(
    title: str, x: str, y: str, series: list[dict[str, Any]], scale: str = "log"
) -> dict[str, Any]:
    return {"title": title, "x_label": x, "y_label": y, "scale": scale, "series": series}


def _summary(
    rates: list[dict[str, Any]],
    panels: list[dict[str, Any]],
    notes: list[str],
    columns: Sequence[str] = (),
    table: Sequence[Sequence[Any]] = (),
) -> Summary:
    return {
        "rates": rates,
        "table": {"columns": list(columns), "rows": [list(row) for row in table]},
        "panels": panels,
        "notes": notes,
    }
