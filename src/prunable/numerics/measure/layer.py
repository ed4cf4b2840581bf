"""Everything that is measured of one weight matrix."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from prunable.numerics import tails
from prunable.numerics.measure import goodness
from prunable.numerics.measure.dependence import Dependence, dependence
from prunable.numerics.measure.entries import HELD, Coded, Drawn, Entries, Plain
from prunable.numerics.measure.goodness import Goodness
from prunable.numerics.measure.options import Options, eps_key
from prunable.numerics.measure.spectrum import (
    SpectralFit,
    Spectrum,
    exact_spectrum,
    fit_spectrum,
    lanczos_spectrum,
)
from prunable.numerics.measure.verdict import MIN_WEIGHTS, Kind, judge
from prunable.numerics.stable.half_line import COARSE, half_line
from prunable.numerics.tails import HillPlot, StableFit, Status, TailEstimate, TailShape
from prunable.numerics.tails.base import Sample
from prunable.numerics.tails.hill import (
    LARGEST_MOMENT_K,
    LARGEST_SHARE,
    MOMENT_SHARE,
    hill_of_sorted,
)
from prunable.numerics.weights.allocation import LayerBins
from prunable.numerics.weights.compressibility import kappa_curve
from prunable.numerics.weights.kappa_theory import gaussian_kappa, stable_kappa
from prunable.numerics.weights.levels import Levels
from prunable.numerics.weights.magnitudes import Ordered
from prunable.results import Result

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
ByEps = Mapping[str, float]

# Tail estimates look at no more of the largest weights.
LARGEST_TAIL = 2**17
# Vectors, and entries of all of them, that the multivariate estimators see.
VECTORS, VECTOR_ENTRIES = 2**12, 2**18
# Matrices whose shorter side is longer have their spectrum estimated unless asked otherwise.
EXACT_SIDE = 2048
# Entries of the rows whose squares are summed at a time: what the second-level cache holds.
BLOCK = 2**17
# Outside these, largest magnitudes are brought near 1 first, whose singular values have squares.
SMALL, LARGE = 1e-14, 1e14
CURVE_EPS = np.geomspace(0.01, 0.99, 48)
TAIL_POINTS = 64
# Differences between checkpoints, and means over layers, are taken with one estimator
# whatever the verdict: a change needs the same ruler at both ends.
RULER = "ecf_regression"


@dataclass(frozen=True, eq=False)
class TailPlot:
    """Share of the weights that are not zero with at least magnitude x, also under fitted laws."""

    x: FloatArray
    survival: FloatArray
    stable: FloatArray | None
    gaussian: FloatArray | None


@dataclass(frozen=True, eq=False, kw_only=True)
class MeasuredLayer(Result):
    """How prunable one weight matrix is, and why.

    Attributes
    ----------
    shape, dtype : As stored.
    role : "hidden", "output", or "unknown" where it cannot be told.
    kind : "dense", "convolution", "embedding", "attention" or "recurrent".
    n : Weights, of which `zeros_share` are exactly zero.
    verdict, alpha, alpha_stderr, reason : As in `LayerVerdict`.
    estimators : Tail indices by method.
    stable_fit, gaussian_fit : Fitted laws with their distance from at most 32,768 of the weights.
    kappa : Kept share at each eps asked for, by granularity: "weight"; "node", the columns of one
        input; "unit", the rows of one output; "kernel", of convolutions; "singular_value".
    curves : Kept shares against "eps": measured, by granularity; "gaussian", of infinitely many
        independent Gaussian weights; "stable_low", "stable_median" and "stable_high", a `KappaBand`
        of independent weights of the fitted stable law.

    >>> import torch, prunable
    >>> layer = prunable.measure({"net.weight": torch.eye(100)}).layers[0]
    >>> layer.kept("weight", 0.1), layer.to_dict()["n"], str(layer.ruler.status)
    (0.0099, 10000, 'degenerate')
    """

    name: str = ""
    shape: tuple[int, ...] = ()
    role: str = "hidden"
    kind: str = "dense"
    dtype: str = ""
    n: int
    zeros_share: float
    verdict: Kind
    alpha: float
    alpha_stderr: float
    reason: str
    estimators: Mapping[str, TailEstimate]
    stable_fit: Goodness | None
    gaussian_fit: Goodness | None
    tail: TailShape | None
    dependence: Dependence | None
    spectrum: SpectralFit | None
    kappa: Mapping[str, ByEps]
    hill_plot: HillPlot | None
    curves: Mapping[str, FloatArray | None]
    tail_plot: TailPlot | None

    def __repr__(self) -> str:
        return f"MeasuredLayer({self.name!r}, {self.n:,} weights, {self.verdict})"

    @property
    def ruler(self) -> TailEstimate:
        """The estimate used for comparisons, whatever the verdict."""
        return self.estimators[RULER]

    def kept(self, granularity: str, eps: float) -> float | None:
        """kappa at one error; None where it is missing."""
        return (self.kappa.get(granularity) or {}).get(eps_key(eps))

    def to_dict(self) -> dict[str, Any]:
        """The layer as `prunable measure --json` holds it; what is no number becomes None."""
        document = super().to_dict()
        for found in document["estimators"].values():
            for key in ("method", "source", "zeros_share"):
                found.pop(key, None)
        return document


@dataclass(frozen=True, eq=False)
class LayerSketch:
    """What numbers of the whole network need of a layer.

    `kappa_2` are the kept shares of weights at each eps for p = 2, which the allocation is
    compared with; `kappa_1` those of the sampled weights for p = 1, where the error has a limit
    that the whole law decides (see `network.Ordering`). `bins` is None if all weights are zero;
    `levels` are all weights in order, where there are few distinct ones.
    """

    kappa_1: FloatArray
    kappa_2: FloatArray
    bins: LayerBins | None
    levels: Levels | None = None


def measure_layer(
    matrix: Matrix | Coded, options: Options, rng: np.random.Generator, *, taps: int = 1
) -> tuple[MeasuredLayer, LayerSketch]:
    """Measure one matrix, (out, in * taps), of at least one weight, all finite.

    Whether it comes as floats or as `Coded` changes the random sample, and nothing else.

    `taps` are the entries of a convolution's kernel; columns of one input are adjacent. `rng`
    draws the subsamples.
    """
    entries = matrix if isinstance(matrix, Coded) else Plain(matrix)
    magnitudes: Ordered = entries.ordered
    levels = magnitudes if isinstance(magnitudes, Levels) else None
    bins = LayerBins.of(magnitudes, options.p)
    exponent = 0
    if magnitudes.top > 0 and not SMALL < magnitudes.top < LARGE:
        # a power of two changes no digit, and squares stay doubles
        exponent = -math.frexp(magnitudes.top)[1]
        entries = entries.scaled(exponent)
        magnitudes = entries.ordered
    nonzero = magnitudes.size - magnitudes.zeros
    zeros_share = magnitudes.zeros / magnitudes.size
    sample, (rng,) = entries.draw(rng), rng.spawn(1)
    estimates, fit = _estimate(sample, zeros_share)
    if options.authors:
        estimates["authors"] = tails.authors_procedure(
            kernels_or_rows(entries.decode(entries.raw), taps), rng=rng
        )
    gaussian = stable = tail = hill_plot = shared = tail_plot = None
    far, far_stable = 1.0, (1.0, 1.0)
    if sample.size >= MIN_WEIGHTS:
        estimates |= _vector_estimates(entries, taps, rng)
        gaussian = goodness.gaussian_goodness(sample.part)
        stable = goodness.stable_goodness(sample.part)
        largest = magnitudes.largest(min(int(nonzero * LARGEST_SHARE) + 1, LARGEST_TAIL))
        far = goodness.far_p_value(largest, gaussian.scale * math.sqrt(2), nonzero)
        if stable is not None and fit is not None:
            far_stable = goodness.stable_tail(largest, fit, nonzero)
        size = max(2, min(int(nonzero * MOMENT_SHARE), LARGEST_MOMENT_K, largest.size - 1))
        tail = tails.extreme_value_index(largest, size)
        estimates["hill"], hill_plot = hill_of_sorted(largest, zeros_share, total=nonzero)
        shared = dependence(entries.raw, rng, entries.decode)
        tail_plot = _tail_plot(magnitudes, gaussian, stable)
    verdict = judge(sample.size, estimates, gaussian, far, stable, tail, far_stable)
    eps = np.concatenate([np.array(options.eps), CURVE_EPS])
    exact = magnitudes.kept_counts(options.eps, options.p) / magnitudes.size
    shares = {"weight": np.append(exact, magnitudes.kept_shares(CURVE_EPS, options.p))}
    for name, norms in _granularities(entries, taps, options.p).items():
        shares[name] = kappa_curve(norms, eps, options.p)
    spectrum = _spectrum(entries, options, rng)
    if spectrum is not None:
        shares["singular_value"] = spectrum.kept_shares(eps, options.p)
    asked = len(options.eps)
    curves: dict[str, FloatArray | None] = {"eps": CURVE_EPS}
    curves |= {name: found[asked:] for name, found in shares.items()}
    curves["gaussian"] = gaussian_kappa(CURVE_EPS, options.p)
    curves |= dict.fromkeys(("stable_low", "stable_median", "stable_high"))
    if stable is not None:
        band = stable_kappa(stable.alpha, nonzero, CURVE_EPS, options.p, rng=rng)
        curves |= {"stable_low": band.low, "stable_median": band.median, "stable_high": band.high}
    layer = MeasuredLayer(
        n=magnitudes.size,
        zeros_share=zeros_share,
        verdict=verdict.kind,
        alpha=verdict.alpha,
        alpha_stderr=verdict.stderr,
        reason=verdict.reason,
        estimators=estimates,
        stable_fit=stable and _in_unit(stable, fit.scale if fit else stable.scale, exponent),
        gaussian_fit=gaussian and _in_unit(gaussian, gaussian.scale, exponent),
        tail=tail,
        dependence=shared,
        spectrum=None if spectrum is None else fit_spectrum(spectrum, estimates[RULER].alpha),
        kappa={name: options.by_eps(found[:asked]) for name, found in shares.items()},
        hill_plot=hill_plot,
        curves=curves,
        tail_plot=tail_plot and replace(tail_plot, x=_times(tail_plot.x, -exponent)),
    )
    kappa_2 = exact if options.p == 2 else magnitudes.kept_counts(options.eps) / magnitudes.size
    kappa_1 = np.zeros(asked)
    if sample.size:
        kappa_1 = sample.ordered().kept_counts(options.eps, 1.0) / sample.size
    entries.release()
    return layer, LayerSketch(kappa_1, kappa_2, bins, levels)


def _in_unit(fit: Goodness, scale: float, exponent: int) -> Goodness:
    """A fit of scaled weights, in the unit of the weights."""
    return replace(fit, scale=float(_times(scale, -exponent)))


def _times(value: Any, exponent: int) -> Any:
    with np.errstate(over="ignore"):
        return np.ldexp(value, exponent)


def kernels_or_rows(matrix: NDArray[Any], taps: int) -> NDArray[Any]:
    """The vectors of the 2021 paper: kernels of a convolution, rows of another matrix."""
    return matrix.reshape(-1, taps) if taps > 1 else matrix


def _estimate(
    sample: Drawn, zeros_share: float
) -> tuple[dict[str, TailEstimate], StableFit | None]:
    """Estimates by method; that by Hill waits for the largest weights."""
    known = tails.estimators()
    found = {
        name: Sample(np.empty(0), zeros_share, name, "").refuse(Status.TOO_FEW, sample.size)
        for name in (*known, RULER, "hill")
    }
    if sample.size == 0:
        return found, None
    found |= {name: estimator(sample.values) for name, estimator in known.items()}
    fit = tails.fit_stable(sample.values)
    found[RULER] = fit.estimate
    return found, fit if math.isfinite(fit.scale) else None


def _vector_estimates(
    entries: Entries, taps: int, rng: np.random.Generator
) -> dict[str, TailEstimate]:
    """Multivariate log-moment of rows, columns and kernels."""
    raw = entries.raw
    vectors = {"log_moment_rows": raw, "log_moment_columns": raw.T}
    if taps > 1:
        vectors["log_moment_kernels"] = kernels_or_rows(raw, taps)
    return {
        method: tails.log_moment_vectors(entries.decode(_some(rows, rng)), center="median")
        for method, rows in vectors.items()
        if len(rows) > 1
    }


def _some(rows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Random vectors in random order; of long ones some coordinates, which are as stable."""
    count = min(len(rows), max(VECTORS, VECTOR_ENTRIES // rows.shape[1]))
    chosen = rng.permutation(len(rows))[:count]
    width = max(1, VECTOR_ENTRIES // count)
    columns = np.arange(rows.shape[1])
    if width < rows.shape[1]:
        columns = np.sort(rng.permutation(rows.shape[1])[:width])
    order = np.argsort(chosen)  # neighbours in memory lie side by side
    found = np.empty((count, columns.size), dtype=rows.dtype)
    found[order] = rows[np.ix_(chosen[order], columns)]
    return found


def _granularities(entries: Entries, taps: int, p: float) -> dict[str, FloatArray]:
    """l_p norms of nodes (inputs), units (outputs) and kernels."""
    out, width = entries.shape
    inputs = width // taps
    units, nodes = np.empty(out), np.zeros(inputs)
    kernels = np.empty((out, inputs)) if taps > 1 else None
    # squares are doubles: what is far from 1 came scaled
    top = entries.ordered.top if p != 2 and entries.ordered.top else 1.0
    rows = max(1, BLOCK // width)
    held = max(1, HELD // (rows * width))
    ones = np.ones(max(rows, inputs))
    powers = entries.powers(p, top)
    for number, start in enumerate(range(0, out, rows)):
        block = powers(entries.raw[start : start + rows])
        if kernels is not None:
            block = block.reshape(-1, inputs, taps).sum(axis=2)
            kernels[start : start + rows] = block
        units[start : start + rows] = block @ ones[:inputs]
        nodes += ones[: len(block)] @ block
        if number % held == held - 1:
            entries.release()
    found = {"node": nodes, "unit": units}
    if kernels is not None:
        found["kernel"] = kernels.ravel()
    return {name: top * sums ** (1 / p) for name, sums in found.items()}


def _spectrum(entries: Entries, options: Options, rng: np.random.Generator) -> Spectrum | None:
    if options.spectrum == "none":
        return None
    large = min(entries.shape) > EXACT_SIDE and options.spectrum == "auto"
    if large:
        return lanczos_spectrum(entries.raw, rng, entries.decode, entries.release)
    return exact_spectrum(entries.raw, entries.decode)


def _tail_plot(magnitudes: Ordered, gaussian: Goodness, stable: Goodness | None) -> TailPlot:
    x, above = magnitudes.survival(TAIL_POINTS)
    heavy = None
    if stable is not None:
        with np.errstate(over="ignore"):
            heavy = 2 * half_line(stable.alpha, COARSE).sf(x / stable.scale)
    normal = np.asarray(erfc(x / (2 * gaussian.scale)))
    return TailPlot(x, above / (magnitudes.size - magnitudes.zeros), heavy, normal)
