"""Singular values, and the exponent of their power law."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dsterf, dsytrd

from prunable.errors import InputError
from prunable.numerics.tails.base import Status

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
Decode = Callable[[NDArray[Any]], Matrix]

ROWS_AT_A_TIME = 1024
# Columns reduced at a time; the default of the drivers for eigenvalues alone is a fifth slower.
PANEL = 32
# Rows of zeros, for columns a power of two apart meet in one place of the cache.
APART = 4
STEPS = 40
# Starting vectors add up to so many entries at least: errors fall as one over their root.
PROBED = 2**12
# Entries of the matrix that all probes meet while they lie in the cache.
CACHED = 2**19
# Sides of what is turned over at a time; places a power of two apart meet in one of the cache.
TILE = 144
# Codes of no more weights become floats as a whole.
WIDENED = 2**24
MIN_TAIL = 20
CANDIDATES = 256
# A Marchenko-Pastur edge passes for a power law of exponent 6 or more.
LARGEST_SPECTRAL_ALPHA = 6.0
LIKELIER = 2.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values in increasing order, each standing for `weights` of the `count` of a matrix.

    `count` is its shorter side, which the weights add up to. Unless `exact`, the values are the
    nodes of a Lanczos quadrature.
    """

    values: FloatArray
    weights: FloatArray
    count: int
    exact: bool

    def kept_shares(self, eps: FloatArray, p: float) -> FloatArray:
        """Smallest shares of singular values whose relative l_p error is at most each `eps`.

        An exact spectrum gives whole counts.
        """
        top = self.values[-1]
        if top == 0:
            return np.zeros(np.shape(eps))
        terms = self.weights * (self.values / top) ** p
        errors = np.concatenate([[0.0], (np.cumsum(terms) / terms.sum()) ** (1 / p)])
        pruned = np.concatenate([[0.0], np.cumsum(self.weights)])
        if self.exact:
            places = np.searchsorted(errors, eps, side="right") - 1
            return np.asarray(1 - pruned[places] / self.count)
        return np.asarray(1 - np.interp(np.asarray(eps) ** p, errors**p, pruned) / self.count)


@dataclass(frozen=True)
class SpectralFit:
    """Power law x^-spectral_alpha of the density of eigenvalues of W^T W.

    The exponent is not the tail index of the weights: for independent heavy-tailed weights it
    is about 1 + tail index / 2, `expected_if_iid`. It is NaN, as is its standard error, unless
    `status` is OK: NOT_POWER_LAW if an exponential tail fits better or the exponent is 6 or
    more. The `n_tail` eigenvalues from `xmin` on, relative to the largest, follow the law up
    to the Kolmogorov-Smirnov distance `ks`. `exact` as in `Spectrum`.
    """

    spectral_alpha: float
    stderr: float
    expected_if_iid: float
    ks: float
    n_tail: float
    status: Status
    exact: bool
    xmin: float


def singular_values(matrix: NDArray[Any], decode: Decode | None = None) -> FloatArray:
    """All singular values of a matrix of finite weights, increasing, from its Gram matrix.

    Relative to the largest the absolute error is about 1e-8; those above 1e-3 of the largest
    have relative errors below 1e-9: squaring costs half of the digits of float64, which leaves
    more than float32 has. `decode` gives the weights of some rows, or of some columns, of a matrix
    that holds codes. Extra memory: the Gram matrix of the shorter side, in float64, and a
    block of 1024 rows.
    """
    tall, decode = _tall(matrix, "singular_values"), decode or _as_it_is
    n = tall.shape[1]
    parts = [slice(at, at + ROWS_AT_A_TIME) for at in range(0, len(tall), ROWS_AT_A_TIME)]
    top = max(float(np.abs(decode(tall[part])).max()) for part in parts)
    if top == 0:
        return np.zeros(n)
    width = n + APART
    gram = np.zeros((width, width), order="F")
    for part in parts:
        block = np.zeros((len(tall[part]), width))
        np.divide(decode(tall[part]), top, out=block[:, :n], dtype=np.float64)
        gram = dsyrk(1.0, block.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
    _, diagonal, beside, _, info = dsytrd(gram, lower=1, lwork=PANEL * width, overwrite_a=1)
    eigenvalues, info = dsterf(diagonal[:n], beside[: n - 1]) if n > 1 else (diagonal[:1], info)
    if info != 0:  # pragma: no cover - the implicit QL iteration always settles in practice
        raise ArithmeticError(f"eigenvalues of a {n} x {n} Gram matrix did not converge")
    return np.asarray(top * np.sqrt(np.maximum(eigenvalues, 0.0)))


def exact_spectrum(matrix: NDArray[Any], decode: Decode | None = None) -> Spectrum:
    """All singular values as a `Spectrum`; see `singular_values`."""
    values = singular_values(matrix, decode)
    return Spectrum(values, np.ones(values.size), values.size, exact=True)


def lanczos_spectrum(
    matrix: NDArray[Any],
    rng: np.random.Generator,
    decode: Decode | None = None,
    release: Callable[[], None] | None = None,
) -> Spectrum:
    """Estimate the distribution of singular values without computing them.

    40 nodes for each of 4096 / n starting vectors, rounded up, which `rng` draws; shares kept are
    right to some five thousandths. Stochastic Lanczos quadrature: Golub and Meurant (1994), Ubaru,
    Chen and Saad (2017). The cost is that of reading the matrix 40 times, in the precision of the
    weights. `decode` is as in `singular_values`; codes of more than 2^24 weights stay codes, and
    `release` may give back what was read of them.
    """
    tall, decode = _tall(matrix, "lanczos_spectrum"), decode or _as_it_is
    if tall.size <= WIDENED:
        tall = _widened(tall, decode)
        decode, release = _as_it_is, None
    dtype = decode(tall[:1, :1]).dtype
    if dtype not in (np.float32, np.float64):
        tall, dtype = tall.astype(np.float32), np.dtype(np.float32)
    n = tall.shape[1]
    steps, probes = min(STEPS, n), math.ceil(PROBED / n)
    start = rng.choice(np.array([-1.0, 1.0]), size=(n, probes)).T / math.sqrt(n)
    now, before = start.astype(dtype), np.zeros((probes, n), dtype=dtype)
    diagonal, beside = np.zeros((steps, probes)), np.zeros((steps, probes))
    norm = np.zeros(probes)
    for step in range(steps):
        image = _apply_gram(tall, now, decode, back=step % 2 == 1)
        if release is not None:
            release()
        diagonal[step] = np.vecdot(image.astype(np.float64), now)
        image -= now * diagonal[step, :, None].astype(dtype)
        image -= before * norm[:, None].astype(dtype)
        wide = image.astype(np.float64)
        norm = np.sqrt(np.vecdot(wide, wide))
        beside[step] = norm
        divisor = np.maximum(norm, np.finfo(dtype).tiny)
        before, now = now, image / divisor[:, None].astype(dtype)
    nodes, weights = [], []
    for probe in range(probes):
        ritz, vectors = eigh_tridiagonal(diagonal[:, probe], beside[:-1, probe])
        nodes.append(np.maximum(ritz, 0.0))
        weights.append(vectors[0] ** 2 * (n / probes))
    order = np.argsort(np.concatenate(nodes))
    values = np.sqrt(np.concatenate(nodes))[order]
    return Spectrum(values, np.concatenate(weights)[order], n, exact=False)


def _apply_gram(tall: NDArray[Any], vectors: Matrix, decode: Decode, *, back: bool) -> Matrix:
    """tall^T tall times each row of `vectors`, reading `tall` once.

    From its end if `back`: after the other way, that end is what the cache still holds.
    """
    image = np.zeros_like(vectors)
    rows = max(1, CACHED // tall.shape[1])
    starts = range(0, len(tall), rows)
    for start in reversed(starts) if back else starts:
        block = decode(tall[start : start + rows])
        # one by one: a product with a narrow matrix takes twice as long
        for vector, result in zip(vectors, image, strict=True):
            result += (block @ vector) @ block
    return image


def _widened(tall: NDArray[Any], decode: Decode) -> Matrix:
    """Weights row by row in memory, turned tile by tile where they lay column by column."""
    if tall.flags.c_contiguous:
        return np.ascontiguousarray(decode(tall))
    whole = np.empty(tall.shape, dtype=decode(tall[:1, :1]).dtype)
    for row in range(0, tall.shape[0], TILE):
        for column in range(0, tall.shape[1], TILE):
            tile = slice(row, row + TILE), slice(column, column + TILE)
            whole[tile] = decode(tall[tile])
    return whole


def _as_it_is(part: Any) -> Matrix:
    return np.asarray(part)


def fit_spectrum(spectrum: Spectrum, alpha: float = math.nan) -> SpectralFit:
    """Fit a power law to the upper tail of the eigenvalues of W^T W.

    `alpha` is the tail index of the weights, for comparison. Maximum likelihood, with the
    threshold of smallest Kolmogorov-Smirnov distance (Clauset, Shalizi and Newman 2009), as in
    the spectral analyses of Martin and Mahoney; unlike there it refuses where an exponential
    tail is at least `LIKELIER` nats likelier.
    """

    def found(
        n_tail: float,
        status: Status,
        *,
        exponent: float = math.nan,
        ks: float = math.nan,
        xmin: float = math.nan,
    ) -> SpectralFit:
        stderr = (exponent - 1) / math.sqrt(n_tail) if n_tail else math.nan
        expected = 1 + min(alpha, 2.0) / 2
        return SpectralFit(exponent, stderr, expected, ks, n_tail, status, spectrum.exact, xmin)

    squares = spectrum.values**2
    positive = squares > 0
    x = squares[positive]
    weights = spectrum.weights[positive]
    # multiplicities of the eigenvalues from each one on
    above = np.cumsum(weights[::-1])[::-1]
    starts = np.flatnonzero(above >= MIN_TAIL)
    if starts.size == 0 or x[0] == x[-1]:
        return found(float(above[0]) if above.size else 0.0, Status.TOO_FEW)
    x = x / x[-1]
    logs = np.log(x)
    if starts.size > CANDIDATES:
        starts = starts[np.linspace(0, starts.size - 1, CANDIDATES).astype(np.int64)]
    best: tuple[float, float, int] | None = None
    for start in map(int, starts):
        w = weights[start:]
        total = above[start]
        excess = float(w @ (logs[start:] - logs[start]))
        if excess <= 0:
            continue
        exponent = 1 + total / excess
        expected = -np.expm1((1 - exponent) * (logs[start:] - logs[start]))
        upper = np.cumsum(w) / total
        distance = max(float((upper - expected).max()), float((expected - upper + w / total).max()))
        if best is None or distance < best[0]:
            best = distance, exponent, start
    if best is None:
        return found(float(above[starts[0]]), Status.DEGENERATE)
    distance, exponent, start = best
    total, xmin = float(above[start]), float(x[start])
    mean = float(weights[start:] @ (x[start:] - xmin)) / total
    power = math.log((exponent - 1) / xmin) - exponent / (exponent - 1)
    exponential = -math.log(mean) - 1
    unlikely = total * (exponential - power) > LIKELIER
    if unlikely or exponent >= LARGEST_SPECTRAL_ALPHA:
        return found(total, Status.NOT_POWER_LAW, ks=distance, xmin=xmin)
    return found(total, Status.OK, exponent=exponent, ks=distance, xmin=xmin)


def _tall(matrix: NDArray[Any], where: str) -> NDArray[Any]:
    array = np.asarray(matrix)
    if array.ndim != 2 or array.size == 0:
        raise InputError.parameter("matrix", where, "a non-empty matrix", f"shape {array.shape}")
    return array if array.shape[0] >= array.shape[1] else array.T
