"""Recompute the tables of Guha, Dubey and Huo (2023) on networks trained here.

Usage: python tools/mbp_tables.py docs/bounds [WORK]

Trains multilayer perceptrons of five linear layers on MNIST, evaluates every bound on them in
both conventions, and writes `mbp.json`, `mbp.md`, `mbp.svg` and `rho.svg`; about an hour on one
core. What is finished is kept in WORK (default: OUT/work), so that an interrupted run goes on.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import nn

from prunable.data.loaders import load
from prunable.files import atomic_write, write_bytes, write_json, write_text
from prunable.nets.models import mlp
from prunable.nets.network_bounds import (
    bounds_of_model,
    choose_pruning,
    facts_of_model,
    margins_of,
    with_layers,
)
from prunable.nets.training import TrainingSettings, predict, train
from prunable.numerics.bounds.bartlett2017 import covering_capacity
from prunable.numerics.bounds.base import BoundResult
from prunable.numerics.bounds.comparison import like_with_like
from prunable.numerics.bounds.distributed_sparsity import line_counts
from prunable.numerics.bounds.neyshabur2015 import frobenius_capacity
from prunable.numerics.bounds.neyshabur2017 import spectral_capacity
from prunable.numerics.bounds.pruning_moments import (
    kept_share,
    layer_error,
    pruned_share,
    strength_of,
)
from prunable.numerics.bounds.random_pruning import Draws
from prunable.numerics.bounds.rho import rho_limit, rho_upper
from prunable.numerics.bounds.sketched_network import needed_margin, sketched_bound
from prunable.numerics.bounds.spectral_perturbation import contraction
from prunable.numerics.randomness import child_seed, rng
from prunable.report.figures import PALETTE, STYLE, as_svg

WIDTHS, SEEDS = (500, 784, 1000), (0, 1, 2)
DEPTH, EPOCHS, BATCH = 5, 12, 256
LR = 1e-3
# Then single epochs, each at three quarters of the rate before, in which pictures of small margins
# come so many times, until every training picture is read right.
MORE_EPOCHS, MORE_LR, FALL, SMALL_MARGIN, REPEATS = 20, 2e-4, 0.75, 2.0, 16
# As in the released code: a fifth of the official training set validates.
N_TRAIN = 48_000
# No pixel of [-1, 1] leaves the ball of this radius.
INPUT_BOUND = math.sqrt(784)
DELTA = 0.05
# Natural logarithms as printed in the paper's tables 1 and 2; the last column is CIFAR-10.
PUBLISHED_WIDTHS = (500, 784, 1000, 1500, 2000, 2500)
PUBLISHED = {
    "Neyshabur 2015": (22.29, 23.56, 24.42, 25.12, 27.03, 27.72, 33.19),
    "Neyshabur 2017": (17.91, 18.34, 18.70, 18.81, 21.50, 21.57, 30.10),
    "Bartlett 2017": (11.51, 11.68, 11.87, 11.70, 13.96, 13.81, 22.40),
    "Ours": (3.36, 3.77, 4.00, 4.40, 4.73, 4.96, 4.68),
    "True error": (-3.76, -3.84, -3.80, -3.85, -3.86, -3.87, -2.41),
}
CIFAR = {"width": 2000, "inputs": 3072, "n": 40_000}


class Mnist:
    """Pictures as vectors in [-1, 1], 48,000 of the official training set by seed."""

    def __init__(self, seed: int) -> None:
        data = load("mnist")
        chosen = rng(seed, "split").permutation(len(data.x_train))[:N_TRAIN]
        self.x = torch.from_numpy(data.x_train[chosen]) * 2 - 1
        self.y = torch.from_numpy(data.y_train[chosen])
        self.x_test = torch.from_numpy(data.x_test.copy()) * 2 - 1
        self.y_test = torch.from_numpy(data.y_test.copy())

    def test_error(self, model: nn.Module) -> float:
        """Share of test pictures that are misread."""
        return float(np.mean(margins_of(model, self.x_test, self.y_test) <= 0))


def trained(width: int, seed: int, data: Mnist, work: Path) -> nn.Sequential:
    """A network of one width and seed, trained or read from WORK."""
    generator = torch.Generator().manual_seed(child_seed(seed, "init"))
    model = mlp([784, *[width] * (DEPTH - 1), 10], generator=generator)
    stored = work / f"{width}-{seed}.safetensors"
    if stored.exists():
        model.load_state_dict(load_file(stored))
        return model
    fit(model, data.x, data.y, EPOCHS, LR, seed)
    for number in range(MORE_EPOCHS):
        margins = margins_of(model, data.x, data.y)
        if margins.min() > 0:
            break
        small = np.flatnonzero(margins < SMALL_MARGIN)
        chosen = torch.from_numpy(np.concatenate([np.arange(len(margins)), *[small] * REPEATS]))
        lr = MORE_LR * FALL**number
        fit(model, data.x[chosen], data.y[chosen], 1, lr, child_seed(seed, "more", number))
    atomic_write(stored, lambda path: save_file(model.state_dict(), path))
    return model


def fit(
    model: nn.Sequential, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float, seed: int
) -> None:
    """Train from where the model is, with products in bfloat16."""
    steps = -(-len(x) // BATCH) * epochs
    settings = TrainingSettings(
        lr=lr, steps=steps, batch_size=BATCH, seed=seed, optimizer="adam",
        schedule="cosine", log_every=steps,
    )  # fmt: skip
    train(Bfloat16(model), x, y, settings)


class Bfloat16(nn.Module):
    """A model whose matrix products are those of bfloat16; its weights stay float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits in float32."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.model(x).float()


def measured(width: int, seed: int, work: Path) -> dict[str, Any]:
    """Every bound of one network, in both conventions."""
    result = work / f"{width}-{seed}.json"
    if result.exists():
        return json.loads(result.read_text())
    data = Mnist(seed)
    model = trained(width, seed, data, work)
    margins = margins_of(model, data.x, data.y)
    found: dict[str, Any] = {
        "width": width,
        "seed": seed,
        "n": N_TRAIN,
        "weights": sum(m.weight.numel() for m in model if isinstance(m, nn.Linear)),
        "min_margin": float(margins.min()),
        "median_margin": float(np.median(margins)),
        "train_error": float(np.mean(margins <= 0)),
        "test_error": data.test_error(model),
    }
    for convention, protect in (("authors-code", False), ("paper", True)):
        strength, layers = choose_pruning(
            model, data.x, data.y, seed=seed, protect_diagonal=protect,
            contractions=convention == "authors-code",
        )  # fmt: skip
        pruned = with_layers(model, layers)
        facts = facts_of_model(model, data.x, data.y, pruned, input_bound=INPUT_BOUND)
        tables = {
            "Neyshabur 2015": frobenius_capacity(facts),
            "Neyshabur 2017": spectral_capacity(facts, variant="authors-code"),
            "Bartlett 2017": covering_capacity(facts, variant="authors-code"),
            "Bartlett 2017, l(1,2) norm": covering_capacity(facts, variant="authors-intended"),
            "Bartlett 2017, true (2,1) norm": covering_capacity(facts),
            "Ours": sketched_bound(facts, strength.d, variant="authors-code"),
            "Theorem 5.2": sketched_bound(facts, strength.d, delta=DELTA),
        }
        ratios = [
            layer.change_spectral
            / layer_error(layer.matrix_shape, layer.variance, max(strength.d, 1e-12)).value
            for layer in facts.layers
        ]
        found[convention] = {
            "d": strength.d,
            "chi": kept_share(strength.d),
            "needed": strength.needed,
            "reason": strength.reason,
            "kept": facts.pruned_kept,
            "pruned_test_error": data.test_error(pruned),
            "log_values": {k: finite(v.log_value) for k, v in tables.items()},
            "violated": {k: [[a.name, a.by] for a in v.violated] for k, v in tables.items()},
            "change_over_gamma": [min(ratios), max(ratios)],
            "excess_kurtosis": [layer.excess_kurtosis for layer in facts.layers],
        }
        if convention == "paper":
            results = bounds_of_model(
                model, data.x, data.y, pruned, d=strength.d, fold=True, delta=DELTA,
                input_bound=INPUT_BOUND, stability_examples=16,
            )  # fmt: skip
            found["rows"] = [row.to_dict() for row in like_with_like(results)]
            found["bounds"] = [brief(r) for r in results if r.quantity == "risk"]
    write_json(result, found)
    return found


def at_published(width: int, seed: int, work: Path) -> dict[str, Any]:
    """The same network pruned at the strength that the published row implies."""
    result = work / f"{width}-{seed}-published.json"
    if result.exists():
        return json.loads(result.read_text())
    data = Mnist(seed)
    model = trained(width, seed, data, work)
    d = next(r["implied_d"] for r in published_rates() if r["width"] == width)
    matrices = [m.weight.detach().numpy() for m in model if isinstance(m, nn.Linear)]
    draws = Draws.of(matrices, rng(seed, "masks"), protect_diagonal=False)
    pruned = with_layers(model, draws.pruned(d))
    facts = facts_of_model(model, data.x, data.y, pruned)
    changes = [layer.change_spectral for layer in facts.layers]
    change = predict(pruned, data.x).double() - predict(model, data.x).double()
    last = facts.layers[-1]
    found = {
        "d": d,
        "needed": needed_margin(facts, changes),
        "min_margin": float(facts.margins.min()),
        "largest_change": float(change.norm(dim=1).max()),
        "pruned_train_error": float(np.mean(margins_of(pruned, data.x, data.y) <= 0)),
        "pruned_test_error": data.test_error(pruned),
        "kept": facts.pruned_kept,
        "change_over_gamma": [
            layer.change_spectral / layer_error(layer.matrix_shape, layer.variance, d).value
            for layer in facts.layers
        ],
        "lines": [max(x.row_count, x.column_count) for x in facts.layers],
        "lines_bound": [line_counts(x.matrix_shape, d).value for x in facts.layers],
        "contraction": last.contraction,
        "contraction_claimed": contraction(
            last.inputs, last.outputs, facts.n, variant="authors-code"
        ),
    }
    write_json(result, found)
    return found


def brief(result: BoundResult) -> dict[str, Any]:
    """What is kept of a bound: its value, and what is violated by how much."""
    return {
        "name": result.name,
        "variant": result.variant,
        "about": result.about,
        "log_value": finite(result.log_value),
        "vacuous": result.vacuous,
        "delta": result.delta,
        "violated": [[a.name, a.by] for a in result.violated],
    }


def finite(value: float) -> float | None:
    """A number for JSON; None if it is infinite."""
    return value if math.isfinite(value) else None


@functools.cache
def largest_input() -> float:
    """Largest norm of a picture of MNIST in [-1, 1]."""
    x = load("mnist").x_train.astype(np.float64) * 2 - 1
    return float(np.linalg.norm(x, axis=1).max())


def published_rates() -> list[dict[str, Any]]:
    """The published rows as roots per example, beside plain counting and the implied strength."""
    rows = []
    for i in range(len(PUBLISHED["Ours"])):
        cifar = i == len(PUBLISHED_WIDTHS)
        width = CIFAR["width"] if cifar else PUBLISHED_WIDTHS[i]
        inputs, n = (CIFAR["inputs"], CIFAR["n"]) if cifar else (784, N_TRAIN)
        sides = [inputs, *[width] * (DEPTH - 1), 10]
        pairs = list(zip(sides[1:], sides[:-1], strict=True))
        count = sum(a * b for a, b in pairs)
        squared = sum(a * b * math.log(max(a, b)) ** 2 for a, b in pairs)
        chi = math.exp(2 * PUBLISHED["Ours"][i]) * n / squared
        d = strength_of(min(chi, 1.0))
        # ||Delta||_F^2 = r^(3/2) ||A||_F^2 in the mean, and a spectral norm is at least the
        # Frobenius norm over sqrt(width): with Bartlett's row that bounds the margin needed
        log_excess = (
            1
            + math.log(largest_input())
            + math.log(contraction(width, 10, n, variant="authors-code"))
            + 1.5 * math.log(pruned_share(d))
            + PUBLISHED["Bartlett 2017"][i] / 2
            - 0.5 * math.log(width)
        )
        rows.append(
            {
                "data": "CIFAR-10" if cifar else "MNIST",
                "width": width,
                "n": n,
                "weights": count,
                "rates": {
                    name: (PUBLISHED[name][i] - math.log(n)) / 2
                    for name in ("Neyshabur 2015", "Neyshabur 2017", "Bartlett 2017")
                }
                | {"Ours": PUBLISHED["Ours"][i]},
                "counting": math.log(count / n) / 2,
                "implied_chi": chi,
                "implied_d": d,
                "margin_excess": None if cifar else math.exp(log_excess),
            }
        )
    return rows


def mean(values: list[float | None]) -> float:
    """Mean; infinity if one is missing."""
    return math.inf if None in values else statistics.fmean(v for v in values if v is not None)


def spread(values: list[float | None]) -> str:
    """Mean and range of logarithms."""
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return f"{len(values) - len(known)} of {len(values)} infinite"
    low, high = min(known), max(known)
    return f"{mean(values):.2f} ({low:.2f} to {high:.2f})"


def tables(runs: list[dict[str, Any]]) -> list[str]:
    """Rows of tables 1 and 2, recomputed in both conventions beside the published ones."""
    lines = []
    for convention, meaning in (
        ("authors-code", "what the released code evaluates; the diagonal is pruned too"),
        ("paper", "protected diagonal, no contraction of the last layer in the choice of `d`"),
    ):
        lines += ["", f"## Convention `{convention}`: {meaning}", ""]
        lines.append("| natural logarithm | " + " | ".join(
            f"width {w} | published" for w in WIDTHS) + " |")  # fmt: skip
        lines.append("|---" * (2 * len(WIDTHS) + 1) + "|")
        for name in runs[0][convention]["log_values"]:
            cells = []
            for width in WIDTHS:
                chosen = [r for r in runs if r["width"] == width]
                cells.append(spread([r[convention]["log_values"][name] for r in chosen]))
                known = PUBLISHED.get(name)
                place = PUBLISHED_WIDTHS.index(width)
                cells.append(f"{known[place]:.2f}" if known else "")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        cells = []
        for width in WIDTHS:
            chosen = [r for r in runs if r["width"] == width]
            cells.append(spread([math.log(r[convention]["pruned_test_error"]) for r in chosen]))
            cells.append(f"{PUBLISHED['True error'][PUBLISHED_WIDTHS.index(width)]:.2f}")
        lines.append("| True error | " + " | ".join(cells) + " |")
        lines += [
            "",
            "| width | seed | smallest margin | `d` | chi | weights kept | "
            "test error, dense | pruned | largest change / Gamma_l |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['width']} | {r['seed']} | {r['min_margin']:.3g} | {c['d']:.3g} | "
            f"{c['chi']:.4f} | {c['kept']:,} of {r['weights']:,} | {100 * r['test_error']:.2f} % | "
            f"{100 * c['pruned_test_error']:.2f} % | {c['change_over_gamma'][1]:.2f} |"
            for r in runs
            for c in (r[convention],)
        ]
    return lines


def comparison(runs: list[dict[str, Any]]) -> list[str]:
    """Every method in three conventions, by width."""
    lines = [
        "",
        "## Like with like",
        "",
        "Natural logarithms, means over seeds; a bound below 0 would say something. The capacity "
        "is what the published tables print for others; its root per example, without constants, "
        "is what they print for their own method. The last column of each width has all "
        "constants and the price of confidence; biases are folded into the layers.",
        "",
        "| | " + " | ".join(f"{w}: capacity | root per example | bound" for w in WIDTHS) + " |",
        "|---" * (3 * len(WIDTHS) + 1) + "|",
    ]
    keys = [(row["name"], row["variant"]) for row in runs[0]["rows"]]
    reference = [r for r in runs if r["width"] == 784]
    keys.sort(key=lambda key: mean([of(r, key)["log_rate"] for r in reference]))
    for key in keys:
        cells = []
        for width in WIDTHS:
            chosen = [of(r, key) for r in runs if r["width"] == width]
            for column in ("log_capacity", "log_rate", "log_bound"):
                values = [row.get(column) for row in chosen]
                cells.append("" if None in values else f"{mean(values):.2f}")
        name, variant = key
        lines.append(f"| {label(name, variant)} | " + " | ".join(cells) + " |")
    return lines


def of(run: dict[str, Any], key: tuple[str, str]) -> dict[str, Any]:
    """A row of one run; empty if it lacks the method."""
    empty = {"log_capacity": None, "log_rate": None, "log_bound": None}
    return next((r for r in run["rows"] if (r["name"], r["variant"]) == key), empty)


def label(name: str, variant: str) -> str:
    """Name of a row."""
    return name if variant == "paper" else f"{name} ({variant})"


def published_lines() -> list[str]:
    """The published numbers as roots per example."""
    lines = [
        "",
        "## The published numbers, like with like",
        "",
        "Natural logarithms. The tables' rows for others are raw capacities; their root per "
        "example, (capacity / n)^(1/2), is comparable with the row `Ours`. Counting is "
        "(weights / n)^(1/2), which needs no data. `d` is what the row `Ours` implies if its "
        "margin loss is 0. The last column is the least factor by which the margin needed at that "
        "`d` exceeds the smallest training margin, if the row Bartlett 2017 is that of the same "
        "network (released formulas, Gaussian weights, pictures in [-1, 1]): "
        "e max||x|| kappa_L r^(3/4) exp(row / 2) / sqrt(width), r = d / (d + 2).",
        "",
        "| data, width | Neyshabur 2015 | Neyshabur 2017 | Bartlett 2017 | Ours | plain counting | "
        "implied chi | implied `d` | margin needed / smallest, at least |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in published_rates():
        rates = " | ".join(f"{value:.2f}" for value in row["rates"].values())
        lines.append(
            f"| {row['data']}, {row['width']} | {rates} | {row['counting']:.2f} | "
            f"{row['implied_chi']:.3f} | {row['implied_d']:.3f} | "
            f"{'' if row['margin_excess'] is None else format(row['margin_excess'], '.0f')} |"
        )
    return lines


def published_strengths(runs: list[dict[str, Any]]) -> list[str]:
    """What the published strengths do to these networks."""
    lines = [
        "",
        "## At the strengths that the published rows imply",
        "",
        "Margins needed by lemma C.2, as the released code evaluates it, and what pruning did to "
        "the logits of a training picture at most; the largest row or column count over lemma "
        "5.1's bound, and spectral change over lemma 4.2's at C = 1, the largest of the layers; "
        "max ||Ax||/(||A|| ||x||) of the last layer on training pictures beside what lemma C.1 "
        "claims.",
        "",
        "| width | seed | `d` | smallest margin | margin needed | largest change of logits | "
        "test error, pruned | count / bound | change / Gamma_l | contraction, measured | claimed |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        p = run["published_d"]
        count = max(a / b for a, b in zip(p["lines"], p["lines_bound"], strict=True))
        lines.append(
            f"| {run['width']} | {run['seed']} | {p['d']:.3f} | {p['min_margin']:.3g} | "
            f"{p['needed']:.3g} | {p['largest_change']:.3g} | "
            f"{100 * p['pruned_test_error']:.2f} % | {count:.2f} | "
            f"{max(p['change_over_gamma']):.2f} | {p['contraction']:.2f} | "
            f"{p['contraction_claimed']:.2f} |"
        )
    return lines


def figure(runs: list[dict[str, Any]]) -> Figure:
    """Methods at width 784 in the three conventions, one dot each."""
    chosen = [r for r in runs if r["width"] == 784]
    keys = sorted(
        {(row["name"], row["variant"]) for row in chosen[0]["rows"]},
        key=lambda key: -mean([of(r, key)["log_rate"] for r in chosen]),
    )
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(8.6, 5.4), layout="constrained")
        ax = fig.subplots()
        for color, marker, column, meaning in (
            (PALETTE[1], "s", "log_capacity", "raw capacity"),
            (PALETTE[3], "o", "log_rate", "root per example, no constants"),
            (PALETTE[2], "D", "log_bound", "bound with all constants"),
        ):
            points = [(mean([of(r, key).get(column) for r in chosen]), i)
                      for i, key in enumerate(keys)]  # fmt: skip
            points = [(x, i) for x, i in points if math.isfinite(x)]
            ax.plot(*zip(*points, strict=True), marker, color=color, label=meaning, ls="")
        place = PUBLISHED_WIDTHS.index(784)
        for name, target in (
            ("Neyshabur 2015", ("Neyshabur 2015, Frobenius", "paper")),
            ("Neyshabur 2017", ("Neyshabur 2017", "authors-code")),
            ("Bartlett 2017", ("Bartlett 2017", "authors-code")),
            ("Ours", ("parameter count, sketch", "paper")),
        ):
            ax.plot(PUBLISHED[name][place], keys.index(target), "x", color=PALETTE[0], ms=9,
                    label="published" if name == "Ours" else None)  # fmt: skip
        ax.axvline(0, color="#8a8a8a", lw=1)
        ax.set_yticks(range(len(keys)), [label(*key) for key in keys])
        ax.set(xlabel="natural logarithm; a risk bound left of 0 is not vacuous")
        ax.set_title("Five-layer perceptron of width 784 on MNIST")
        ax.legend(frameon=False, loc="upper right")
    return fig


def rho_figure() -> Figure:
    """rho_eps(kappa) and its upper bound: figure 11 of Barsbey et al. (2021)."""
    kappa = np.linspace(0, 1, 401)
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(5.6, 3.8), layout="constrained")
        ax = fig.subplots()
        for color, epsilon in zip(PALETTE[1:], (0.01, 0.05, 0.1, 0.3), strict=False):
            ax.plot(kappa, rho_limit(epsilon, kappa), color=color, label=f"eps = {epsilon:g}")
            ax.plot(kappa, rho_upper(epsilon, kappa), color=color, ls="--", lw=1)
        ax.set(
            xlabel="kappa (kept share)", ylabel="rho_eps(kappa); dashed: min(3 eps^(1-kappa), 1)"
        )
        ax.set_title("What compressibility saves in theorem 7")
        ax.legend(frameon=False)
    return fig


def findings(runs: list[dict[str, Any]]) -> list[str]:
    """Sentences made from the numbers."""
    rates = published_rates()
    mnist = [r for r in rates if r["data"] == "MNIST"]
    below = [r for r in mnist if r["rates"]["Bartlett 2017"] < r["rates"]["Ours"]]
    gaps = [r["rates"]["Ours"] - r["counting"] for r in rates]
    at = [r for r in runs if r["width"] == 784]
    key = ("parameter count, sketch", "paper")
    ours = mean([of(r, key)["log_rate"] for r in at])
    dense = mean([of(r, ("parameter count, dense", "paper"))["log_rate"] for r in at])
    bartlett = mean([of(r, ("Bartlett 2017", "authors-code"))["log_rate"] for r in at])
    failure = [b["delta"] for r in runs for b in r["bounds"]
               if (b["name"], b["variant"]) == ("sketched pruned network", "paper")]  # fmt: skip
    vacuous = sum(b["vacuous"] for r in runs for b in r["bounds"])
    total = sum(len(r["bounds"]) for r in runs)
    excess = [r["published_d"]["needed"] / r["published_d"]["min_margin"] for r in runs]
    loose = [r["published_d"]["needed"] / r["published_d"]["largest_change"] for r in runs]
    contracted = [r["published_d"]["contraction"] for r in runs]
    claimed = [r["published_d"]["contraction_claimed"] for r in runs]
    kurtosis = [k for r in runs for k in r["paper"]["excess_kurtosis"]]
    positive = sum(r["min_margin"] > 0 for r in runs)
    return [
        "",
        "## Findings",
        "",
        "- The published tables compare unlike quantities: a root per example for their own method "
        "and raw capacities, without root and without n, for the others. Brought to one form, "
        f"the published Bartlett 2017 lies below the published new bound at {len(below)} of "
        f"{len(mnist)} widths on MNIST.",
        "- Plain counting of all weights, sqrt(weights / n), is below the published new bound in "
        f"every column, by {min(gaps):.2f} to {max(gaps):.2f} in the logarithm (a factor "
        f"{math.exp(min(gaps)):.1f} to {math.exp(max(gaps)):.1f}): a sketch has chi ln^2(p) "
        "numbers for each weight, about 35 at these strengths.",
        "- The published rows do not fit each other. A strength that gives the row `Ours` needs a "
        f"margin {min(r['margin_excess'] for r in mnist):.0f} to "
        f"{max(r['margin_excess'] for r in mnist):.0f} times the smallest training margin that the "
        "row Bartlett 2017 implies, at the least, so that its margin loss would not be 0.",
        f"- On the networks trained here at width 784: sketch {ours:.2f}, plain counting "
        f"{dense:.2f}, Bartlett 2017 (released code) {bartlett:.2f}, in the same form.",
        f"- The smallest training margin was positive on {positive} of {len(runs)} networks.",
        "- Theorem 5.2 as stated fails with probability "
        f"{min(failure):.2f} to {max(failure):.2f} on these networks, because of the terms "
        "d_1^(-1/3) + d_2^(-1/3) of each layer alone: it says nothing at these widths.",
        f"- Weights are not Gaussian: excess kurtosis {min(kurtosis):.2f} to {max(kurtosis):.2f}.",
        "- At the strengths that the published rows imply, these networks would need margins "
        f"{min(excess):.0f} to {max(excess):.0f} times their smallest one; pruning moves logits "
        f"{min(loose):.0f} to {max(loose):.0f} times less than lemma C.2 allows for. The strengths "
        "that their margins allow leave practically all weights.",
        f"- The contraction that lemma C.1 claims for the last layer, {min(claimed):.2f} to "
        f"{max(claimed):.2f}, is not that of training pictures, {min(contracted):.2f} to "
        f"{max(contracted):.2f}: hidden activations are not isotropic.",
        f"- {vacuous} of {total} bounds on risks are vacuous.",
    ]


def page(runs: list[dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Bounds of the magnitude pruning paper, recomputed",
        "",
        "Multilayer perceptrons with ReLU and biases, five linear layers, on 48,000 pictures of "
        f"MNIST in [-1, 1]; seeds {', '.join(sorted({str(r['seed']) for r in runs}))}, which also "
        "draw the split, the batches and the masks. Reduced against the paper: "
        f"{EPOCHS} epochs of Adam from {LR:g}, falling to 0 by a cosine, in place of 300 epochs "
        "(its text says Adam, the released configuration plain SGD at 0.02); three widths in place "
        "of six; no CIFAR-10. So that the smallest training margin is positive, as the choice of "
        "`d` needs, weight decay is left out and single epochs follow, in which pictures of small "
        f"margins come {REPEATS} times, until all are read right. Training multiplies in bfloat16, "
        "everything else is float64. Ranges are over seeds. What the rows mean: "
        "[bounds.md](../bounds.md). Written by `python tools/mbp_tables.py docs/bounds`.",
        *findings(runs),
        "",
        "![methods in three conventions](mbp.svg)",
        *comparison(runs),
        *published_lines(),
        *published_strengths(runs),
        *tables(runs),
    ]
    return "\n".join(lines) + "\n"


def main(out: Path, work: Path) -> None:
    """Run what is missing and write the artefacts."""
    work.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in track(SEEDS, "seeds"):
        runs += [
            measured(width, seed, work) | {"published_d": at_published(width, seed, work)}
            for width in WIDTHS
        ]
        # every seed done is a whole report
        write_report(out, sorted(runs, key=lambda r: (r["width"], r["seed"])))


def write_report(out: Path, runs: list[dict[str, Any]]) -> None:
    """Write page, figures and numbers of the networks there are."""
    write_json(out / "mbp.json", {"runs": runs, "published": published_rates()})
    write_text(out / "mbp.md", page(runs))
    write_bytes(out / "mbp.svg", as_svg(figure(runs)))
    write_bytes(out / "rho.svg", as_svg(rho_figure()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    main(folder, Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "work")
