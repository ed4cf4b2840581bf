"""Symmetric alpha-stable draws in torch: in place, chunked, safe in float32.

The formula is that of `prunable.numerics.stable.sampling`. What differs is how the
uniforms are made: a float32 uniform has a grid of 2**-24, too coarse near the pole of the
formula, where the large draws come from, and near its centre, where the small ones do; and it
can hit both. So the distance to the pole is a random whole number of as many bits as the dtype
has, and what lies within 2**-13 of the pole or the centre is refined and computed in float64.

Draws depend on the seed and the shape alone, never on the number of threads: each chunk
has a generator of its own, and runs on one thread. Accelerators have draws of their own, of
`prunable.nets.train.counted`.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch

from prunable.errors import InputError, check_one_of, require
from prunable.nets.train.counted import add_symmetric_, positive
from prunable.numerics.randomness import child_seed
from prunable.numerics.stable import check_alpha

Kind = Literal["iid", "shared", "isotropic"]

# Small enough for the scratch buffers of a thread to stay in its cache.
CHUNK = 2**17
# torch runs elementwise functions of at most this many elements on one thread.
SERIAL = 2**11
ENDS = 2.0**-13  # uniforms this near to 0 or 1 are refined
SMALLEST, LARGEST = 2.0**-116, 1 - 2.0**-53  # of uniforms in float64


def sample_stable(
    shape: Sequence[int],
    alpha: float,
    *,
    scale: float = 1.0,
    kind: Kind = "iid",
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw symmetric alpha-stable noise of a shape, whose axis 0 counts the vectors.

    Chambers, Mallows and Stuck (1976); the three kinds are types II, I and III of section 2.1 of
    Wan, Zaidi and Simsekli (2023): independent coordinates, exp(-sum |u_j|^alpha); one scalar for
    all coordinates of a vector, exp(-|sum u_j|^alpha); rotation invariant, exp(-||u||^alpha). With
    a scale c the law is exp(-|c u|^alpha); at alpha = 2 the variance is 2 c^2.

    The generator, on any device, is advanced by one draw, which seeds all the others. Draws are
    never NaN, infinite or 0; one beyond the largest or smallest number of the computation's dtype
    (possible for alpha < 0.4 in float32) is that number. float16 and bfloat16 are rounded from
    float32, and so may be 0.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    out = torch.zeros(tuple(shape), dtype=dtype, device=device)
    add_stable_(out, alpha, scale=scale, kind=kind, seed=seed)
    return out


def add_stable_(
    tensor: torch.Tensor, alpha: float, *, scale: float, kind: Kind, seed: int
) -> torch.Tensor:
    """Add symmetric alpha-stable noise to a floating-point tensor in place, and return it.

    Axis 0 counts the vectors; alpha, scale and kind are as in `sample_stable`, and `scale` may
    be 0. Equal arguments add equal numbers on one kind of device, whatever the thread count.
    """
    alpha = check_alpha(alpha, "add_stable_")
    check_one_of(kind, get_args(Kind), "kind", "add_stable_")
    require(0 <= scale < math.inf, "scale", "add_stable_", "finite and not negative", scale)
    if not tensor.is_floating_point():
        raise InputError.parameter("dtype", "add_stable_", "a floating-point type", tensor.dtype)
    if scale == 0 or tensor.numel() == 0:
        return tensor
    if kind == "isotropic" and alpha == 2:
        kind = "iid"  # the same law, with the better tail
    with torch.no_grad():
        if tensor.is_contiguous():
            _ADDERS[kind](tensor, alpha, scale, seed)
        else:
            draws = torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)
            _ADDERS[kind](draws, alpha, scale, seed)
            tensor.add_(draws)
    return tensor


def symmetric_from_uniforms_(t: torch.Tensor, w: torch.Tensor, alpha: float) -> torch.Tensor:
    """Turn uniforms into symmetric alpha-stable draws, overwriting both arguments.

    `t` are distances of the angle to the pole, in (0, 1]; `w`, in [-1, 1] without 0, is the sign,
    and through |w| the exponential variable; alpha is not checked. The draws have characteristic
    function exp(-|u|^alpha): the twin of `prunable.numerics.stable.sampling.symmetric_transform`.
    """
    half_pi = math.pi / 2
    if alpha == 1.0:
        angle = t.mul_(half_pi)
        return angle.cos().div_(angle.sin_()).copysign_(w)
    # The standard exponential; for alpha < 1 its small values make the large draws.
    magnitude = w.abs()
    logarithm = magnitude.log_() if alpha > 1 else magnitude.neg_().log1p_()
    exponential = logarithm.abs_()  # not neg_(): |w| = 1 shall give +0, never -0
    if alpha == 2.0:
        return exponential.sqrt_().mul_(t.mul_(half_pi).cos_()).mul_(2).copysign_(w)
    if alpha > 1:
        sine = (t * (alpha * half_pi)).add_((2 - alpha) * half_pi).sin_()
        cosine = (t * ((alpha - 1) * half_pi)).add_((2 - alpha) * half_pi).sin_()
    else:
        sine = (1 - t).mul_(alpha * half_pi).sin_()
        cosine = (t * ((1 - alpha) * half_pi)).add_(alpha * half_pi).sin_()
    # cos^(-1/alpha) is cos^-1 times a power that the last factor has too
    pole = t.mul_(half_pi).sin_()
    power = cosine.div_(exponential).div_(pole).log_().mul_((1 - alpha) / alpha).exp_()
    draws = power.mul_(sine.div_(pole))
    if alpha < 1:
        draws.clamp_(torch.finfo(t.dtype).tiny, torch.finfo(t.dtype).max)
    return draws.copysign_(w)


def positive_from_uniforms_(t: torch.Tensor, w: torch.Tensor, a: float) -> torch.Tensor:
    """Turn uniforms into positive a-stable draws with Laplace transform exp(-s^a), 0 < a <= 1.

    Arguments are as in `symmetric_from_uniforms_`, and overwritten; a = 1 gives the constant 1.
    Kanter (1975); the twin of `prunable.numerics.stable.sampling.positive_transform`.
    """
    if a == 1.0:
        return torch.ones_like(t)
    log_exponential = w.abs().neg_().log1p_().neg_().log_()

    # At t = 1 all sines vanish and their quotient has a limit; a tiny angle stands for it.
    opposite = (1 - t).clamp_(min=2.0**-64)

    def log_sine(share: float) -> torch.Tensor:
        # sin(share * pi * (1 - t)); the sine of the supplement is precise at the pole t -> 0
        far = opposite * (share * math.pi)
        near = (t * (share * math.pi)).add_((1 - share) * math.pi)
        return torch.where(t < 0.5, near, far).sin_().log_()

    exponent = log_sine(1 - a).sub_(log_exponential).mul_((1 - a) / a)
    exponent.add_(log_sine(a)).sub_(log_sine(1.0), alpha=1 / a)
    numbers = torch.finfo(t.dtype)
    exponent.clamp_(min=math.log(numbers.tiny) + 1e-3, max=math.log(numbers.max) - 1e-3)
    return exponent.exp_()


def _add_iid(tensor: torch.Tensor, alpha: float, scale: float, seed: int) -> None:
    flat = tensor.view(-1)
    if _is_accelerator(tensor.device):
        factor = torch.full((1, 1), scale, dtype=_working_dtype(tensor), device=tensor.device)
        add_symmetric_(flat.view(-1, 1), alpha, factor, seed)
        return
    # alpha = 2 too: float32 `normal_` ends at 5.8 standard deviations, this beyond 8
    transform = partial(symmetric_from_uniforms_, alpha=alpha)

    def work(start: int, stop: int, seed: int) -> None:
        draws = _transformed(stop - start, _working_dtype(tensor), _Source(seed), transform)
        flat[start:stop].add_(draws.to(tensor.dtype), alpha=scale)

    _for_each_chunk(flat.numel(), CHUNK, seed, work)


def _add_shared(tensor: torch.Tensor, alpha: float, scale: float, seed: int) -> None:
    draws = torch.zeros(tensor.shape[:1], dtype=_working_dtype(tensor), device=tensor.device)
    _add_iid(draws, alpha, scale, seed)
    tensor.add_(draws.view(-1, *[1] * (tensor.ndim - 1)).to(tensor.dtype))


def _add_isotropic(tensor: torch.Tensor, alpha: float, scale: float, seed: int) -> None:
    # X = sqrt(2 A) G with A positive (alpha/2)-stable: E exp(i<u,X>) = E exp(-A ||u||^2).
    rows, dtype = tensor.shape[0], _working_dtype(tensor)
    of_radius, of_gauss = child_seed(seed, "radius"), child_seed(seed, "gauss")
    radius = torch.empty(rows, dtype=dtype, device=tensor.device)
    matrix = tensor.view(rows, -1)
    if _is_accelerator(tensor.device):
        factor = positive(rows, alpha / 2, of_radius, radius).sqrt_().mul_(scale)
        add_symmetric_(matrix, 2.0, factor.view(-1, 1), of_gauss)  # sqrt(2) G
        return
    transform = partial(positive_from_uniforms_, a=alpha / 2)

    def draw_radius(start: int, stop: int, seed: int) -> None:
        mixing = _transformed(stop - start, dtype, _Source(seed), transform)
        radius[start:stop] = mixing.mul_(2).sqrt_().mul_(scale)

    _for_each_chunk(rows, CHUNK, of_radius, draw_radius)

    def add_rows(start: int, stop: int, seed: int) -> None:
        gaussian = _gaussian((stop - start, matrix.shape[1]), dtype, seed)
        matrix[start:stop].add_(gaussian.mul_(radius[start:stop].view(-1, 1)).to(tensor.dtype))

    rows_per_chunk = max(1, CHUNK // max(1, matrix.shape[1]))
    _for_each_chunk(rows, rows_per_chunk, of_gauss, add_rows)


_ADDERS: dict[Kind, Callable[[torch.Tensor, float, float, int], None]] = {
    "iid": _add_iid,
    "shared": _add_shared,
    "isotropic": _add_isotropic,
}


def _is_accelerator(device: torch.device) -> bool:
    return device.type != "cpu"


def _working_dtype(tensor: torch.Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


class _Source:
    """Random numbers of one chunk, of NumPy, which makes them several times faster than torch."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.Generator(np.random.SFC64(seed))

    def whole(self, count: int, bits: torch.dtype) -> torch.Tensor:
        """Two rows of integers of a type, every value equally likely."""
        words = count * torch.iinfo(bits).bits // 32
        raw = self._numbers.integers(-(2**63), 2**63, words, dtype=np.int64)
        return torch.from_numpy(raw).view(bits).view(2, count)

    def fractions(self, count: int) -> torch.Tensor:
        """Two rows of uniforms in [0, 1), in float64."""
        return torch.from_numpy(self._numbers.random((2, count)))


def _transformed(
    count: int,
    dtype: torch.dtype,
    source: _Source,
    transform: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Draws from uniforms t in (0, 1) and w in (-1, 1); those near the ends in float64.

    A whole number i stands for all of [i, i + 1), in units of 2**-31 (2**-63 in float64): where
    t or |w| is near 0 or 1 it is drawn which number of these it is.

    No draw is 0. Elsewhere 1 - t and 1 - |w| are at least 2**-13, so that every factor of the
    formula is far above the smallest number: the sine at least sin(alpha pi/2 2**-13),
    E^(1 - 1/alpha) at least 2**-7 for alpha >= 1. Near the centre both are at least 2**-53: for
    alpha >= 1 the sine is above 1e-16 and E^(1 - 1/alpha) above 1e-8. For alpha < 1 a small draw
    comes of a large E or of the power 1/alpha, and ends at the smallest number.
    """
    bits = torch.int64 if dtype == torch.float64 else torch.int32
    unit = 2.0 ** (1 - torch.iinfo(bits).bits)
    whole = source.whole(count, bits)
    t, w = whole.to(dtype).mul_(unit)
    t.abs_()
    from_middle = torch.maximum((t - 0.5).abs_(), w.abs().sub_(0.5).abs_())
    ends = torch.from_numpy(np.flatnonzero(from_middle.numpy() > 0.5 - ENDS))  # torch is slower
    fine = (whole[:, ends].double() + source.fractions(ends.numel())).mul_(unit)
    fine = fine.abs().clamp_(SMALLEST, LARGEST).copysign_(fine)
    refined = transform(fine[0].abs(), fine[1])
    draws = transform(t, w)
    smallest, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    draws[ends] = refined.abs().clamp_(smallest, largest).copysign_(refined).to(dtype)
    return draws


def _gaussian(shape: Sequence[int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Standard normal draws; an exact 0 is replaced by what it stands for.

    torch makes them from two uniforms, R = sqrt(-2 log(1 - u)) times the sine and cosine of
    2 pi v. Both are 0 if u is in the first cell of the uniforms' grid, the sine alone if v is. So
    two in three zeros stand for u uniform there, one for v.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.empty(tuple(shape), dtype=dtype).normal_(generator=generator)
    if int(torch.count_nonzero(draws)) < draws.numel():
        flat, cell = draws.view(-1), _grid(dtype)
        zeros = (flat == 0).nonzero().view(-1)
        size = (4, zeros.numel())
        rand = torch.rand(size, dtype=torch.float64, generator=generator)
        which, inside, radius, angle = rand.clamp_(min=2.0**-53)
        by_u = inside.mul(2 * cell).sqrt_() * angle.sub(0.5).mul_(math.pi).cos_()
        by_v = radius.log_().mul_(-2).sqrt_() * inside.mul(2 * math.pi * cell)
        sign = angle.mul(1024).frac_().sub_(0.5)
        flat[zeros] = torch.where(which < 2 / 3, by_u, by_v).copysign_(sign).to(dtype)
    return draws


def _grid(dtype: torch.dtype) -> float:
    """Distance of neighbouring uniforms of torch in [0, 1)."""
    return 2.0**-53 if dtype == torch.float64 else 2.0**-24


def _for_each_chunk(
    count: int, size: int, seed: int, work: Callable[[int, int, int], None]
) -> None:
    """Call `work(start, stop, seed)` for consecutive chunks, in parallel."""

    def one(start: int) -> None:
        work(start, min(start + size, count), child_seed(seed, start // size))

    starts = range(0, count, size)
    threads = min(torch.get_num_threads(), len(starts))
    if count <= SERIAL or torch.get_num_threads() == 1:
        for start in starts:
            one(start)
        return
    # Chunks, not operations, go to the threads: OpenMP regions this small would cost more
    # than they save, and where they split would show in the last bit.
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(one, starts))
    torch.set_num_threads(before)
