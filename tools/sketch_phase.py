"""Measure where sketches are recovered, how surely at the chosen size, and what real layers need.

Usage: python tools/sketch_phase.py docs/sketch [CHECKPOINT]

Writes `phase.json`, `phase.svg` and `phase.md`; some minutes on two cores. With a checkpoint of
dense weights it prunes that in several ways and adds the layers' distributed sparsity and sizes.
Seeds are fixed: equal arguments give equal numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits
from usage import typed

from prunable.certify.bounds.distributed_sparsity import LOAD_REGIME
from prunable.files import write_bytes, write_json, write_text
from prunable.nets.archive import open_archive
from prunable.numerics.randomness import rng
from prunable.numerics.weights.selection import kept_count, top_k_masks
from prunable.report.figures import STYLE, as_svg
from prunable.report.tables import Column, as_percent, table
from prunable.sketch.recovery.channels import decode_tagged, tagged_sketch
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.ensembles import Ensemble
from prunable.sketch.recovery.entries import Decoded, Entries
from prunable.sketch.recovery.peeling import peel
from prunable.sketch.recovery.sizes import (
    VERIFICATION_DELTA,
    VERIFICATION_FACTOR,
    SketchSize,
    compare_sizes,
    sketch_size,
)
from prunable.sketch.recovery.sketching import sketch

Generator = np.random.Generator

Decoder = Literal["tagged", "verification", "l1"]
Setting = tuple[Decoder, tuple[int, int], int, str, str]

DECODERS: dict[Decoder, str] = {
    "tagged": "Tagged bits, exact",
    "verification": "Real, verification and core",
    "l1": "Real, l1 (Douglas-Rachford)",
}
PHASE_N: dict[Decoder, int] = {"tagged": 200, "verification": 200, "l1": 40}
PHASE_J: dict[Decoder, list[int]] = {
    "tagged": [1, 2, 4, 8, 16, 32],
    "verification": [1, 2, 4, 8, 16, 32],
    "l1": [1, 2, 4, 8],
}
PHASE_DRAWS: dict[Decoder, int] = {"tagged": 50, "verification": 30, "l1": 10}
FACTORS = [0.8, 1.0, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.2]
DRAWS = 200
EXAMPLES = 60_000  # of the training set of MNIST
# decoder, shape, entries a row, kind of values, kind of support
SETTINGS: list[Setting] = [
    ("tagged", (60, 60), 4, "float32", "regular"),
    ("tagged", (200, 200), 8, "float32", "regular"),
    ("tagged", (200, 200), 8, "float32", "uniform"),
    ("tagged", (200, 200), 8, "7 levels", "regular"),
    ("tagged", (2000, 2000), 8, "float32", "regular"),
    ("tagged", (2000, 2000), 8, "7 levels", "uniform"),
    ("tagged", (300, 784), 8, "float32", "uniform"),
    ("tagged", (100, 300), 5, "1 level", "uniform"),
    ("verification", (60, 60), 4, "float64", "regular"),
    ("verification", (200, 200), 8, "float64", "regular"),
    ("verification", (200, 200), 8, "float64", "uniform"),
    ("verification", (2000, 2000), 8, "float64", "regular"),
    ("verification", (200, 200), 8, "7 levels", "regular"),
]


def support(
    shape: tuple[int, int], j: int, kind: str, r: Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """j entries a row: j random permutations of the columns, or uniform positions."""
    rows = np.repeat(np.arange(shape[0]), j)
    if kind == "regular":
        cols = np.stack([r.permutation(shape[1])[: shape[0]] for _ in range(j)], axis=1).ravel()
    else:
        rows, cols = r.integers(0, shape[0], rows.size), r.integers(0, shape[1], rows.size)
    keys = np.unique(rows * shape[1] + cols)
    return keys // shape[1], keys % shape[1]


def matrix(shape: tuple[int, int], j: int, values: str, kind: str, r: Generator) -> Entries:
    """A random sparse matrix of one kind of values."""
    rows, cols = support(shape, j, kind, r)
    if values == "float64":
        return Entries(shape, rows, cols, r.standard_normal(rows.size))
    if values == "float32":
        weights = r.standard_normal(rows.size).astype(np.float32)
    else:
        levels = {"7 levels": [-3, -2, -1, 1, 2, 3], "1 level": [1]}[values]
        weights = (0.07 * r.choice(levels, rows.size)).astype(np.float32)
    return Entries(shape, rows, cols, weights.view(np.uint32))


def decode(decoder: Decoder, entries: Entries, left: Ensemble, right: Ensemble) -> Decoded:
    """Sketch and decode."""
    if decoder == "tagged":
        return decode_tagged(tagged_sketch(entries, left, right), left, right)
    if entries.values.dtype.kind == "u":  # bits of float32, as numbers
        numbers = entries.values.view(np.float32).astype(np.float64)
        entries = Entries(entries.shape, entries.rows, entries.cols, numbers)
    measured = sketch(entries, left, right)
    if decoder == "l1":
        return decode_l1(measured, left, right, max_iterations=500)
    return peel(measured, left, right)


def correct(entries: Entries, decoded: Decoded) -> bool:
    """Whether the matrix was found: bit for bit, or reals to 1e-9 of the largest."""
    found = decoded.entries
    if found.count != entries.count or not np.array_equal(found.rows, entries.rows):
        return False
    if not np.array_equal(found.cols, entries.cols):
        return False
    wanted = entries.values
    if found.values.dtype.kind == "f" and wanted.dtype.kind == "u":
        wanted = wanted.view(np.float32)
    if wanted.dtype.kind == "u":
        return np.array_equal(found.values, wanted)
    return bool(np.abs(found.values - wanted).max(initial=0) <= 1e-9 * np.abs(wanted).max())


def chosen_size(decoder: Decoder, entries: Entries) -> SketchSize:
    """The documented size for a decoder."""
    if decoder == "tagged":
        return sketch_size(entries)
    return sketch_size(entries, factor=VERIFICATION_FACTOR, delta=VERIFICATION_DELTA)


def phase(decoder: Decoder) -> dict[str, Any]:
    """Shares of recovered n x n matrices over j and m = factor sqrt(n j)."""
    n, draws = PHASE_N[decoder], PHASE_DRAWS[decoder]
    delta = 3 if decoder == "tagged" else VERIFICATION_DELTA
    values = "float32" if decoder == "tagged" else "float64"
    share: list[list[float | None]] = []
    counts: list[list[int | None]] = []
    for factor in FACTORS:
        row: list[float | None] = []
        numbers: list[int | None] = []
        for j in PHASE_J[decoder]:
            m, wins = round(factor * math.sqrt(n * j)), 0
            if math.comb(m, delta) < 2 * n:
                row.append(None)  # no distinct columns
                numbers.append(None)
                continue
            for draw in range(draws):
                r = rng(0, "phase", decoder, j, m, draw)
                entries = matrix((n, n), j, values, "regular", r)
                left, right = SketchSize(m, m, delta, delta).ensembles((n, n), r)
                wins += correct(entries, decode(decoder, entries, left, right))
            row.append(wins / draws)
            numbers.append(wins)
        share.append(row)
        counts.append(numbers)
    lines = {"paper": [math.sqrt(n * j) * math.log(n) for j in PHASE_J[decoder]]}
    if decoder != "l1":
        examples = (
            matrix((n, n), j, values, "regular", rng(0, "size", j)) for j in PHASE_J[decoder]
        )
        sizes = [chosen_size(decoder, entries) for entries in examples]
        lines["sketch_size"] = [math.sqrt(size.measurements) for size in sizes]
    return {
        "decoder": decoder,
        "title": f"{DECODERS[decoder]}\nn = {n}, delta = {delta}",
        "n": n,
        "delta": delta,
        "draws": draws,
        "j": PHASE_J[decoder],
        "factors": FACTORS,
        "share": share,
        "recovered": counts,
        "lines": lines,
    }


def success(setting: Setting) -> dict[str, Any]:
    """Recoveries in 200 draws of matrix and ensembles at the documented size."""
    decoder, shape, j, values, kind = setting
    wins = mistaken = cores = 0
    size = None
    for draw in range(DRAWS):
        r = rng(1, "success", decoder, str(shape), j, values, kind, draw)
        entries = matrix(shape, j, values, kind, r)
        size = chosen_size(decoder, entries)
        left, right = size.ensembles(shape, r)
        decoded = decode(decoder, entries, left, right)
        found = correct(entries, decoded)
        wins += found
        mistaken += decoded.verdict == "recovered" and not found
        cores += decoded.core > 0
    assert size is not None
    return {
        "decoder": decoder,
        "shape": list(shape),
        "j": j,
        "values": values,
        "support": kind,
        "m": [size.m1, size.m2],
        "delta": [size.delta1, size.delta2],
        "draws": DRAWS,
        "recovered": wins,
        "wrongly_called_recovered": mistaken,
        "cores": cores,
        "lower": float(stats.beta.ppf(0.05, wins, DRAWS - wins + 1)) if wins else 0.0,
    }


def layers(checkpoint: Path) -> list[dict[str, Any]]:
    """Distributed sparsity and sizes of the layers of a checkpoint, pruned in several ways."""
    with open_archive(checkpoint) as archive:
        weights = {
            t.name: t.load().astype(np.float32) for t in archive.tensors if len(t.shape) == 2
        }
    rows = []
    total = sum(w.size for w in weights.values())
    for kept in (800, kept_count(0.02, total), kept_count(0.05, total), kept_count(0.2, total)):
        masks = top_k_masks(list(weights.values()), kept)
        for (name, w), mask in zip(weights.items(), masks, strict=True):
            rows.append(layer(f"largest {kept:,} of all", name, w, mask))
    for strength in (10.0, 43.0):
        chi = (math.sqrt(strength + 2) - math.sqrt(strength)) / math.sqrt(strength + 2)
        for name, w in weights.items():
            pruned = np.exp(-(w.astype(np.float64) ** 2) / (strength * w.var(dtype=np.float64)))
            mask = rng(2, name, int(strength)).random(w.shape) >= pruned
            rows.append(layer(f"randomised, d = {strength:g}", name, w, mask, chi))
    return rows


def lemma_5_1(shape: tuple[int, int], chi: float, slack: float = 1.0) -> dict[str, Any]:
    """Bound the fullest row and column of d1 x d2 weights, each kept with probability chi.

    `bound` is Lemma 5.1, 3 lambda d2 chi a row and 3 lambda d1 chi a column, but for
    `probability` 1 - 1/lambda - d1^(-1/3) - d2^(-1/3); `loads` are the mean ones, `needed` those
    from which Lemma E.1 holds. `binomial` are the smallest numbers exceeded as rarely, split
    evenly, by exact binomial tails and a union over lines, in place of a factor of 3 lambda.
    """
    d1, d2 = shape
    probability = 1 - 1 / slack - d1 ** (-1 / 3) - d2 ** (-1 / 3)
    loads = slack * d2 * chi, slack * d1 * chi
    failure = min(1 - probability, 1.0) / 2
    return {
        "bound": (3 * loads[0], 3 * loads[1]),
        "probability": probability,
        "loads": loads,
        "needed": (LOAD_REGIME * math.log(d1), LOAD_REGIME * math.log(d2)),
        "binomial": [
            int(stats.binom.isf(failure / lines, length, chi))
            for lines, length in ((d1, d2), (d2, d1))
        ],
    }


def layer(
    how: str, name: str, w: NDArray[np.float32], mask: NDArray[np.bool_], chi: float | None = None
) -> dict[str, Any]:
    """One pruned layer: Definition 5.1, Lemma 5.1, and counts."""
    entries = Entries.of(np.where(mask, w, np.float32(0)).view(np.uint32))
    (j_r, j_c), (d1, d2) = entries.fullest, entries.shape
    lemma = lemma_5_1(entries.shape, chi or max(entries.count / w.size, 1e-9))
    sizes = compare_sizes(entries, sketch_size(entries))
    return {
        "pruning": how,
        "layer": name,
        "shape": list(w.shape),
        "kept": entries.count,
        "j_r": j_r,
        "j_c": j_c,
        "mean_row": entries.count / d1,
        "mean_col": entries.count / d2,
        "bound": max(lemma["bound"]),
        "within": j_r <= lemma["bound"][0] and j_c <= lemma["bound"][1],
        "loads_suffice": all(a >= b for a, b in zip(lemma["loads"], lemma["needed"], strict=True)),
        "binomial": lemma["binomial"],
        "dense_count": sizes.dense_count,
        "sketch_count": sizes.sketch_count,
        "theory_count": sizes.theory_count,
        "code_count": sizes.code_count,
        "sketch_bytes": sizes.sketch,
        "bitmask_bytes": sizes.bitmask,
        "entropy_bytes": sizes.entropy,
        "dense_bytes": sizes.dense,
    }


WIDTH, HEIGHT = 4.0, 4.2  # inches of one panel
LINES = {"sketch_size": ("-", "chosen size"), "paper": (":", "(jn)^½ ln n")}


def draw_phase(axes: Axes, panel: dict[str, Any]) -> Any:
    """Draw the share of recovered matrices over j and m, and lines of sizes.

    `panel` is one of `phase`: `share` has a list for each factor of the share recovered (None:
    not measured) for each j at m = factor sqrt(n j), `lines` one m for each j.
    """
    j = np.asarray(panel["j"], dtype=np.float64)
    factors = np.asarray(panel["factors"], dtype=np.float64)
    edges_j, edges_f = _edges(np.log2(j)), _edges(np.log2(factors))
    across = 2 ** np.broadcast_to(edges_j, (edges_f.size, edges_j.size))
    up = 2 ** edges_f[:, None] * np.sqrt(panel["n"] * across)
    share = np.asarray(panel["share"], dtype=np.float64)
    mesh = axes.pcolormesh(across, up, share, cmap="cividis", vmin=0, vmax=1)
    for name, (style, label) in LINES.items():
        if name in panel["lines"]:
            axes.plot(j, panel["lines"][name], style, color="#d55e00", label=label, linewidth=1.8)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(
        xlabel="j, entries a row and column",
        ylabel="m",
        title=panel["title"],
        xlim=(2 ** edges_j[0], 2 ** edges_j[-1]),
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(visible=False)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left")
    return mesh


def phase_figure(panels: list[dict[str, Any]]) -> Figure:
    """Draw several phase diagrams side by side, with one colour bar."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        meshes = [draw_phase(axes, panel) for axes, panel in zip(row, panels, strict=True)]
        figure.colorbar(meshes[-1], ax=list(row), label="share recovered")
    return figure


def _edges(centres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Borders half-way between centres; the outer cells are as wide as their neighbours."""
    if centres.size == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def words(*titles: str) -> list[Column]:
    """Columns that hold words."""
    return [Column(title, words=True) for title in titles]


def pair(sides: list[int]) -> str:
    """Two sides, such as 60 x 60."""
    return f"{sides[0]} x {sides[1]}"


def page(document: dict[str, Any]) -> str:
    """The tables in Markdown."""
    draws = ", ".join(f"{p['draws']} ({p['decoder']})" for p in document["phase"])
    recovered = table(
        [
            *words("decoder", "shape"),
            "j",
            *words("values", "support"),
            "m1 x m2",
            "recovered",
            "at least (95 %)",
            "wrongly called recovered",
            "cores solved",
        ],
        [
            (
                s["decoder"],
                pair(s["shape"]),
                str(s["j"]),
                s["values"],
                s["support"],
                pair(s["m"]),
                f"{s['recovered']} of {s['draws']}",
                f"{as_percent(s['lower'])} %",
                str(s["wrongly_called_recovered"]),
                str(s["cores"]),
            )
            for s in document["success"]
        ],
    )
    text = f"""# Recovery of sparse matrix sketches, measured

Written by `tools/sketch_phase.py`; method and reading in [sketch.md](../sketch.md).

![phase diagram](phase.svg)

m measurements a side against j entries a row and column. Draws a cell: {draws}.

## At the documented size, {DRAWS} draws of matrix, A and B

{recovered.markdown()}
Regular: j random permutations (repeated positions once). Uniform: j a row on
average, anywhere. 7 levels: 0 and six multiples of one step. m1 x m2 of the last draw.
"""
    return text + (layer_tables(document["layers"]) if document["layers"] else "")


def layer_tables(rows: list[dict[str, Any]]) -> str:
    """Tables on a real network's layers."""
    lemma = table(
        [
            *words("pruning", "layer"),
            "kept",
            "j_r (mean)",
            "j_c (mean)",
            "Lemma 5.1",
            *words("within each", "load large enough for Lemma E.1"),
            "binomial row, column",
        ],
        [
            (
                r["pruning"],
                f"{r['layer']} {pair(r['shape'])}",
                f"{r['kept']:,}",
                f"{r['j_r']} ({r['mean_row']:.1f})",
                f"{r['j_c']} ({r['mean_col']:.1f})",
                f"{r['bound']:.0f}",
                "yes" if r["within"] else "no",
                "yes" if r["loads_suffice"] else "no",
                f"{r['binomial'][0]}, {r['binomial'][1]}",
            )
            for r in rows
        ],
    )
    titles = {
        "kept": "kept",
        "dense_count": "dense",
        "sketch_count": "our sketch",
        "theory_count": "theorem 5.1's sketch",
        "code_count": "its code",
        "dense_bytes": "dense bytes",
        "sketch_bytes": "our sketch, bytes",
        "bitmask_bytes": "bitmask, bytes",
        "entropy_bytes": "entropy, bytes",
    }
    totals = {
        how: {key: sum(r[key] for r in rows if r["pruning"] == how) for key in titles}
        for how in dict.fromkeys(r["pruning"] for r in rows)
    }
    sizes = table(
        ["pruning", *titles.values()],
        [(how, *(f"{sums[key]:,.0f}" for key in titles)) for how, sums in totals.items()],
    )
    bits = {
        "dense": ("dense_count", 32),
        "theorem 5.1's sketch": ("theory_count", 32),
        "its code": ("code_count", 32),
        "our sketch": ("sketch_count", 32),
        "bitmask": ("bitmask_bytes", 8),
        "entropy": ("entropy_bytes", 8),
    }
    gaps = table(
        ["pruning", *bits],
        [
            (
                how,
                *(
                    f"{math.sqrt(each * sums[key] * math.log(2) / (2 * EXAMPLES)):.2f}"
                    for key, each in bits.values()
                ),
            )
            for how, sums in totals.items()
        ],
    )
    return f"""
## Layers of a trained LeNet-300-100 (MNIST)

Fullest row j_r and column j_c beside the mean, Lemma 5.1's 3 chi max(d1, d2), as
reconstructed, at lambda = 1 (chi: the law's for randomised pruning, else the share kept),
and the union of exact binomial tails, for independent weights.

{lemma.markdown()}
## Sketch, dense and entropy, all layers together

Numbers: parameters of each description; theorem 5.1's are max(d1 j_r, d2 j_c) ln(p)^2, as
reconstructed and with constant 1, p the larger side; the released code's kept ln(p)^2; ours
the measurements of a sketch that decodes. Bytes: float32.

{sizes.markdown()}
The same as a term of generalization, sqrt(bits ln(2) / (2 n)) at n = {EXAMPLES:,},
with 32 bits for each parameter counted; above 1 it says nothing.

{gaps.markdown()}"""


def main(folder: str, checkpoint: str | None = None) -> None:
    """Measure, and write the three files."""
    target = Path(folder)
    with threadpool_limits(1):
        document = {
            "phase": [phase(decoder) for decoder in DECODERS],
            "success": [success(setting) for setting in SETTINGS],
            "layers": layers(Path(checkpoint)) if checkpoint else [],
        }
    write_json(target / "phase.json", document)
    write_bytes(target / "phase.svg", as_svg(phase_figure(document["phase"])))
    write_text(target / "phase.md", page(document))


if __name__ == "__main__":
    main(*typed(__doc__, 1, 2))
