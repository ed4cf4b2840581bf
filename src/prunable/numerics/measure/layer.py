"""Everything that is measured of one weight matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from prunable.errors import InputError
from prunable.numerics.measure.dependence import Dependence, dependence
from prunable.numerics.measure.goodness import (
    TEST_SIZE,
    Goodness,
    far_p_value,
    gaussian_goodness,
    stable_goodness,
    stable_tail,
)
from prunable.numerics.measure.spectrum import (
    SpectralAlpha,
    Spectrum,
    exact_spectrum,
    lanczos_spectrum,
    spectral_alpha,
)
from prunable.numerics.measure.verdict import MIN_WEIGHTS, Verdict, judge
from prunable.numerics.stable.half_line import COARSE, half_line
from prunable.numerics.tails import (
    ExtremeValueIndex,
    HillPlot,
    StableFit,
    Status,
    TailEstimate,
    authors_procedure,
    ecf_two_point,
    extreme_value_index,
    fit_stable,
    log_moment,
    log_moment_vectors,
    log_variance,
    quantile,
)
from prunable.numerics.tails.hill import (
    LARGEST_MOMENT_K,
    LARGEST_SHARE,
    MOMENT_SHARE,
    hill_of_sorted,
)
from prunable.numerics.weights.allocation import LayerBins
from prunable.numerics.weights.compressibility import kappa_curve
from prunable.numerics.weights.kappa_theory import KappaBand, gaussian_kappa, stable_kappa
from prunable.numerics.weights.magnitudes import Magnitudes

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
SpectrumMode = Literal["auto", "exact", "none"]

# Weights that the estimators see; standard errors are then a few thousandths.
SAMPLE_SIZE = 2**20
# Tail estimates look at no more of the largest weights.
LARGEST_TAIL = 2**17
# Vectors, and entries of all of them, that the multivariate estimators see.
VECTORS, VECTOR_ENTRIES = 2**12, 2**18
# A share of zeros above this marks a pruned layer, whose median lies at the edge of a gap.
PRUNED_SHARE = 0.01
# Matrices whose shorter side is longer have their spectrum estimated unless asked otherwise.
EXACT_SIDE = 2048
# Outside these, largest magnitudes are brought near 1 first.
SMALL, LARGE = 1e-25, 1e25
CURVE_EPS = np.geomspace(0.01, 0.99, 48)
TAIL_POINTS = 64


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes
    ----------
    eps : tuple of float
        Relative errors at which kept shares are reported, each in (0, 1].
    p : float
        Order of the norm, positive and finite.
    seed : int
        Of subsamples and of the random numbers of estimators.
    spectrum : {"auto", "exact", "none"}
        Whether singular values of matrices with both sides above 2048 are estimated ("auto")
        or computed, and whether there is a spectrum at all.
    authors : bool
        Whether to add the 2021 paper's own procedure.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    eps: tuple[float, ...] = (0.05, 0.1, 0.2)
    p: float = 2.0
    seed: int = 0
    spectrum: SpectrumMode = "auto"
    authors: bool = False

    def __post_init__(self) -> None:
        where = "measure"
        if not self.eps or not all(0 < eps <= 1 for eps in self.eps):
            raise InputError.parameter("eps", where, "relative errors in (0, 1]", self.eps)
        if not 0 < self.p < math.inf:
            raise InputError.parameter("p", where, "positive and finite", self.p)
        if self.spectrum not in ("auto", "exact", "none"):
            raise InputError.parameter("spectrum", where, "auto, exact or none", self.spectrum)
        object.__setattr__(self, "eps", tuple(sorted(set(map(float, self.eps)))))


@dataclass(frozen=True, eq=False)
class TailPlot:
    """Survival of the magnitudes beside fitted laws.

    Attributes
    ----------
    x : ndarray
        Magnitudes, increasing.
    survival : ndarray
        Share of the weights that are not zero with at least this magnitude.
    stable, gaussian : ndarray or None
        The same under the fitted laws.
    """

    x: FloatArray
    survival: FloatArray
    stable: FloatArray | None
    gaussian: FloatArray | None


@dataclass(frozen=True, eq=False)
class Curves:
    """Kept shares against relative errors.

    Attributes
    ----------
    eps : ndarray
    measured : dict of str to ndarray
        By granularity: weight, node, unit, kernel, singular_value.
    gaussian : ndarray
        Of infinitely many independent Gaussian weights.
    stable : KappaBand or None
        Of independent weights of the fitted stable law, as many as the layer has.
    """

    eps: FloatArray
    measured: Mapping[str, FloatArray]
    gaussian: FloatArray
    stable: KappaBand | None


@dataclass(frozen=True, eq=False)
class LayerMeasurement:
    """How prunable one matrix is, and why.

    Attributes
    ----------
    n : int
        Weights.
    zeros_share : float
        Share of exact zeros.
    verdict : Verdict
    estimates : dict of str to TailEstimate
        By method.
    stable_fit, gaussian_fit : Goodness or None
        Fitted laws with their distance from at most 32,768 of the weights.
    tail : ExtremeValueIndex or None
    hill_plot : HillPlot or None
    dependence : Dependence or None
    spectrum : SpectralAlpha or None
    spectrum_exact : bool or None
        Whether singular values were computed (True) or estimated (False); None for none.
    kappa : dict of str to ndarray
        Kept share at each eps asked for, by granularity: "weight"; "node", the columns of
        one input; "unit", the rows of one output; "kernel", of convolutions;
        "singular_value".
    kappa_2 : ndarray
        Kept share of weights at each eps for p = 2, which the allocation is compared with.
    kappa_1 : ndarray
        Kept share of the sampled weights at each eps for p = 1, below every tail index that
        proposition 8 of Barsbey et al. (2021) orders.
    curves : Curves
    tail_plot : TailPlot or None
    bins : LayerBins or None
        For the allocation among layers; None if all weights are zero.
    """

    n: int
    zeros_share: float
    verdict: Verdict
    estimates: Mapping[str, TailEstimate]
    stable_fit: Goodness | None
    gaussian_fit: Goodness | None
    tail: ExtremeValueIndex | None
    hill_plot: HillPlot | None
    dependence: Dependence | None
    spectrum: SpectralAlpha | None
    spectrum_exact: bool | None
    kappa: Mapping[str, FloatArray]
    kappa_2: FloatArray
    kappa_1: FloatArray
    curves: Curves
    tail_plot: TailPlot | None
    bins: LayerBins | None


def measure_layer(
    matrix: Matrix, options: Options, rng: np.random.Generator, *, taps: int = 1
) -> LayerMeasurement:
    """Measure one weight matrix.

    Parameters
    ----------
    matrix : ndarray, shape (out, in * taps)
        Finite weights, float32 or float64; at least one.
    options : Options
    rng : numpy.random.Generator
        Source of subsamples.
    taps : int
        Entries of a convolution's kernel; columns of one input are adjacent.

    Returns
    -------
    LayerMeasurement
    """
    magnitudes = Magnitudes.of(matrix, where="measure_layer")
    bins = LayerBins.of(magnitudes)
    if magnitudes.top > 0 and not SMALL < magnitudes.top < LARGE:
        # a power of two changes no digit, and squares stay doubles
        exponent = -math.frexp(magnitudes.top)[1]
        scaled = np.ldexp(matrix.astype(np.float64), exponent)
        return _rescaled(measure_layer(scaled, options, rng, taps=taps), -exponent, bins)
    nonzero = magnitudes.size - magnitudes.zeros
    zeros_share = magnitudes.zeros / magnitudes.size
    sample = draw_sample(magnitudes, rng)
    estimates, fit = _estimate(sample, zeros_share)
    if options.authors:
        estimates["authors"] = authors_procedure(kernels_or_rows(matrix, taps), rng=rng)
    enough = sample.size >= MIN_WEIGHTS
    gaussian = stable = tail = plot = shared = None
    far, far_stable = 1.0, (1.0, 1.0)
    if enough:
        estimates |= _vector_estimates(matrix, taps, rng)
        part = sample[:TEST_SIZE]
        gaussian, stable = gaussian_goodness(part), stable_goodness(part)
        largest = magnitudes.largest(min(int(nonzero * LARGEST_SHARE) + 1, LARGEST_TAIL))
        deviation = gaussian.scale * math.sqrt(2)
        far = far_p_value(largest, deviation, nonzero)
        if stable is not None and fit is not None:
            far_stable = stable_tail(largest, fit, nonzero)
        tail = extreme_value_index(largest, _tail_size(nonzero, largest.size))
        estimates["hill"], plot = hill_of_sorted(largest, zeros_share, total=nonzero)
        shared = dependence(matrix, rng)
    verdict = judge(sample.size, estimates, gaussian, far, stable, tail, far_stable)
    granular = _granularities(matrix, taps, options.p)
    eps = np.concatenate([np.array(options.eps), CURVE_EPS])
    exact = magnitudes.kept_counts(options.eps, options.p) / magnitudes.size
    shares = {"weight": np.append(exact, magnitudes.kept_shares(CURVE_EPS, options.p))}
    shares |= {name: kappa_curve(norms, eps, options.p) for name, norms in granular.items()}
    spectrum, index = _spectrum(matrix, options, rng)
    if spectrum is not None:
        shares["singular_value"] = spectrum.kept_shares(eps, options.p)
    asked = len(options.eps)
    band = None
    if stable is not None:
        band = stable_kappa(stable.alpha, nonzero, CURVE_EPS, options.p, rng=rng)
    curves = Curves(
        CURVE_EPS,
        {name: values[asked:] for name, values in shares.items()},
        gaussian_kappa(CURVE_EPS, options.p),
        band,
    )
    return LayerMeasurement(
        n=magnitudes.size,
        zeros_share=zeros_share,
        verdict=verdict,
        estimates=estimates,
        stable_fit=stable and replace(stable, scale=fit.scale if fit else stable.scale),
        gaussian_fit=gaussian,
        tail=tail,
        hill_plot=plot,
        dependence=shared,
        spectrum=index,
        spectrum_exact=None if spectrum is None else spectrum.exact,
        kappa={name: values[:asked] for name, values in shares.items()},
        kappa_2=magnitudes.kept_counts(options.eps) / magnitudes.size if options.p != 2 else exact,
        kappa_1=kappa_curve(sample, options.eps, 1.0) if sample.size else np.zeros(asked),
        curves=curves,
        tail_plot=_tail_plot(magnitudes, gaussian, stable) if enough else None,
        bins=bins,
    )


def _rescaled(m: LayerMeasurement, exponent: int, bins: LayerBins | None) -> LayerMeasurement:
    """Undo a change of unit by a power of two."""

    def fit(found: Goodness | None) -> Goodness | None:
        return found and replace(found, scale=_times(found.scale, exponent))

    plot = m.tail_plot and replace(m.tail_plot, x=_times(m.tail_plot.x, exponent))
    return replace(
        m, stable_fit=fit(m.stable_fit), gaussian_fit=fit(m.gaussian_fit), tail_plot=plot, bins=bins
    )


def _times(value: Any, exponent: int) -> Any:
    with np.errstate(over="ignore"):
        return np.ldexp(value, exponent)


def draw_sample(magnitudes: Magnitudes, rng: np.random.Generator) -> Matrix:
    """Draw weights that are not zero, in random order, centred by their median.

    Parameters
    ----------
    magnitudes : Magnitudes
    rng : numpy.random.Generator

    Returns
    -------
    ndarray
        At most `SAMPLE_SIZE`. A layer with more than one percent of zeros is not centred:
        pruning by magnitude leaves a gap, and the median at one of its edges.
    """
    values = magnitudes.values
    pruned = magnitudes.zeros > PRUNED_SHARE * magnitudes.size
    if pruned:
        values = values[values != 0]
    if values.size > SAMPLE_SIZE:
        # one from each of equal strata: distinct, and read in order
        starts = np.arange(SAMPLE_SIZE) * values.size // SAMPLE_SIZE
        values = values[starts + rng.integers(values.size // SAMPLE_SIZE, size=SAMPLE_SIZE)]
    # the order of a matrix would put dependent weights into one block of an estimator
    sample: Matrix = rng.permutation(values)
    sample = sample[sample != 0]
    if sample.size and not pruned:
        sample = sample - np.median(sample)
        sample = sample[sample != 0]
    return sample


def kernels_or_rows(matrix: Matrix, taps: int) -> Matrix:
    """The vectors of the 2021 paper: kernels of a convolution, rows of another matrix."""
    return matrix.reshape(-1, taps) if taps > 1 else matrix


def _estimate(
    sample: Matrix, zeros_share: float
) -> tuple[dict[str, TailEstimate], StableFit | None]:
    if sample.size == 0:
        failed = {
            method: TailEstimate.failed(
                Status.TOO_FEW, n=0, method=method, source="", zeros_share=zeros_share
            )
            for method in (
                "log_moment",
                "log_variance",
                "quantile",
                "ecf_two_point",
                "ecf_regression",
                "hill",
            )
        }
        return failed, None
    fit = fit_stable(sample)
    found = {
        "log_moment": log_moment(sample),
        "log_variance": log_variance(sample),
        "quantile": quantile(sample),
        "ecf_two_point": ecf_two_point(sample),
        "ecf_regression": fit.estimate,
        "hill": TailEstimate.failed(
            Status.TOO_FEW, n=sample.size, method="hill", source="", zeros_share=zeros_share
        ),
    }
    return found, fit if math.isfinite(fit.scale) else None


def _vector_estimates(
    matrix: Matrix, taps: int, rng: np.random.Generator
) -> dict[str, TailEstimate]:
    """Multivariate log-moment of rows, columns and kernels."""
    vectors = {"log_moment_rows": matrix, "log_moment_columns": matrix.T}
    if taps > 1:
        vectors["log_moment_kernels"] = matrix.reshape(-1, taps)
    return {
        method: log_moment_vectors(_some(rows, rng), center="median")
        for method, rows in vectors.items()
        if len(rows) > 1
    }


def _some(rows: Matrix, rng: np.random.Generator) -> Matrix:
    """Random vectors in random order; of long ones some coordinates, which are as stable."""
    count = min(len(rows), max(VECTORS, VECTOR_ENTRIES // rows.shape[1]))
    chosen = rng.permutation(len(rows))[:count]
    width = max(1, VECTOR_ENTRIES // count)
    if width < rows.shape[1]:
        return rows[np.ix_(chosen, np.sort(rng.permutation(rows.shape[1])[:width]))]
    return rows[chosen]


def _tail_size(nonzero: int, available: int) -> int:
    return max(2, min(int(nonzero * MOMENT_SHARE), LARGEST_MOMENT_K, available - 1))


def _granularities(matrix: Matrix, taps: int, p: float) -> dict[str, FloatArray]:
    """l_p norms of nodes (inputs), units (outputs) and kernels."""
    out, width = matrix.shape
    inputs = width // taps
    units, nodes = np.empty(out), np.zeros(inputs)
    kernels = np.empty((out, inputs)) if taps > 1 else None
    top = max(float(matrix.max()), -float(matrix.min())) or 1.0
    rows = max(1, 2**17 // width)
    for start in range(0, out, rows):
        block = matrix[start : start + rows].astype(np.float64)
        block /= top
        np.multiply(block, block, out=block) if p == 2 else np.power(np.abs(block), p, out=block)
        if kernels is not None:
            block = block.reshape(-1, inputs, taps).sum(axis=2)
            kernels[start : start + rows] = block
        units[start : start + rows] = block.sum(axis=1)
        nodes += block.sum(axis=0)
    found = {"node": nodes, "unit": units}
    if kernels is not None:
        found["kernel"] = kernels.ravel()
    return {name: top * sums ** (1 / p) for name, sums in found.items()}


def _spectrum(
    matrix: Matrix, options: Options, rng: np.random.Generator
) -> tuple[Spectrum | None, SpectralAlpha | None]:
    if options.spectrum == "none":
        return None, None
    large = min(matrix.shape) > EXACT_SIDE and options.spectrum == "auto"
    spectrum = lanczos_spectrum(matrix, rng) if large else exact_spectrum(matrix)
    return spectrum, spectral_alpha(spectrum)


def _tail_plot(
    magnitudes: Magnitudes, gaussian: Goodness | None, stable: Goodness | None
) -> TailPlot:
    x, above = magnitudes.survival(TAIL_POINTS)
    survival = above / (magnitudes.size - magnitudes.zeros)
    normal = None if gaussian is None else np.asarray(erfc(x / (2 * gaussian.scale)))
    heavy = None
    if stable is not None:
        heavy = 2 * half_line(stable.alpha, COARSE).sf(x / stable.scale)
    return TailPlot(x, survival, heavy, normal)
