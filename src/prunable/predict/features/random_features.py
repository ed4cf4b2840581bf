"""Random-features regression: risks predicted by equivalent problems, and simulated.

Section 3.2 of Chang et al. (2020): inputs a ~ N(0, I_d), features g(R a) of a random first
layer, targets psi(beta . a) + noise. The second layer is fitted by least squares; pruning
keeps s features. Everything is averaged over draws of the first layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.features.equivalent import Moments, equivalent_problem
from prunable.predict.features.hermite import DEGREE, Function, second_moment
from prunable.predict.features.kernels import (
    Activation,
    Link,
    activation_function,
    cross_moment,
    feature_kernel,
    link_function,
)
from prunable.predict.features.model_risks import Predicted, predict_models
from prunable.predict.linear.train_prune import Model, Sample, train_prune

FloatArray = NDArray[np.float64]
OnDraw = Callable[[int], None]


@dataclass(frozen=True)
class RandomFeatures:
    """A random-features regression; the paper's by default.

    Parameters
    ----------
    d : int
        Inputs, >= 1.
    activation : name or callable
        g, see `kernels.Activation`.
    link : name or callable
        psi, see `kernels.Link`; the direction beta has length 1.
    noise : float
        Standard deviation of noise added to the targets, >= 0.
    weight_scale : float
        Standard deviation of the entries of R, > 0; it matters unless g is homogeneous.
    degree : int
        Of the Hermite series, where there is no closed form.

    Raises
    ------
    InputError
        If a value is out of range or a name unknown.
    """

    d: int = 10
    activation: Activation | str | Function = Activation.RELU
    link: Link | str | Function = Link.SQUARE
    noise: float = 0.0
    weight_scale: float = 1.0
    degree: int = DEGREE

    def __post_init__(self) -> None:
        where = "RandomFeatures"
        if self.d < 1:
            raise InputError.parameter("d", where, "at least 1", self.d)
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise InputError.parameter("noise", where, "finite and not negative", self.noise)
        if not (math.isfinite(self.weight_scale) and self.weight_scale > 0):
            raise InputError.parameter(
                "weight_scale", where, "finite and positive", self.weight_scale
            )
        activation_function(self.activation)
        link_function(self.link)

    def layer(self, p: int, generator: np.random.Generator) -> FloatArray:
        """Draw the first layer R, shape (p, d)."""
        return self.weight_scale * generator.standard_normal((p, self.d))

    def moments(self, layer: FloatArray) -> Moments:
        """Moments of features and target, exact up to the end of the Hermite series.

        Parameters
        ----------
        layer : ndarray, shape (p, d)

        Returns
        -------
        Moments
            Its `risk` is the population risk of given weights.
        """
        second = feature_kernel(layer, self.activation, degree=self.degree)
        # inputs and layer are rotation invariant: the first axis is any direction
        cross = cross_moment(
            layer, np.eye(self.d)[0], self.activation, self.link, degree=self.degree
        )
        target = second_moment(link_function(self.link)) + self.noise**2
        return Moments(second, cross, target)

    def sample(self, layer: FloatArray, n: int, generator: np.random.Generator) -> Sample:
        """Draw n training examples."""
        inputs = generator.standard_normal((n, self.d))
        x = activation_function(self.activation)(inputs @ layer.T)
        y = link_function(self.link)(inputs[:, 0]) + self.noise * generator.standard_normal(n)
        return Sample(np.asarray(x, dtype=np.float64), y)


@dataclass(frozen=True, eq=False)
class LayerRisks:
    """Risks for each draw of the first layer; all include the noise.

    Attributes
    ----------
    n, p : int
        Examples, features.
    kept : tuple of int
        Features kept, s.
    risks : dict of Model to ndarray
        Shape (draws, len(kept)); infinite where the law has no finite variance, at p = n, or
        at s = n after retraining.
    condition : float
        Largest condition number of the feature covariances.
    n_floored : int
        Most eigenvalues that were raised to the floor.
    residual : float
        Largest relative residual of the fixed points.
    """

    n: int
    p: int
    kept: tuple[int, ...]
    risks: dict[Model, FloatArray]
    condition: float = math.nan
    n_floored: int = 0
    residual: float = 0.0

    def mean(self, model: Model) -> FloatArray:
        """Average over draws, shape (len(kept),)."""
        return np.asarray(self.risks[model].mean(axis=0))

    def stderr(self, model: Model) -> FloatArray:
        """Standard error of `mean`, shape (len(kept),); NaN for one draw."""
        return standard_error(self.risks[model])


def predict_random_features(
    features: RandomFeatures,
    n: int,
    p: int,
    kept: Sequence[int],
    *,
    draws: int = 10,
    seed: int = 0,
    on_draw: OnDraw | None = None,
) -> LayerRisks:
    """Predict the risks of random-features regression.

    Parameters
    ----------
    features : RandomFeatures
    n : int
        Training examples, >= 3.
    p : int
        Random features.
    kept : sequence of int
        Features kept after pruning, each in 1..p.
    draws : int
        Of the first layer, >= 1.
    seed : int
        `simulate_random_features` draws the same first layers from the same seed.
    on_draw : callable, optional
        Told the number of draws done.

    Returns
    -------
    LayerRisks

    Raises
    ------
    InputError
        If a number is out of range.
    """
    sizes = check_sizes(n, p, kept, "predict_random_features")
    _check_draws(draws, "predict_random_features")
    found: list[Predicted] = []
    condition, n_floored = 0.0, 0
    for draw in range(draws):
        layer = features.layer(p, rng(seed, "layer", p, draw))
        equivalent = equivalent_problem(features.moments(layer))
        condition = max(condition, equivalent.condition)
        n_floored = max(n_floored, equivalent.n_floored)
        generator = rng(seed, "law", n, p, draw)
        found.append(predict_models(equivalent.problem, n, sizes, rng=generator))
        if on_draw is not None:
            on_draw(draw + 1)
    risks = {
        model: np.array([[risk.value for risk in one.risks[model]] for one in found])
        for model in found[0].risks
    }
    residual = max(one.law.residual for one in found)
    return LayerRisks(n, p, sizes, risks, condition, n_floored, residual)


def simulate_random_features(
    features: RandomFeatures,
    n: int,
    p: int,
    kept: Sequence[int],
    *,
    draws: int = 10,
    repeats: int = 5,
    seed: int = 0,
    on_draw: OnDraw | None = None,
) -> LayerRisks:
    """Train, prune and retrain on simulated data; risks are exact population risks.

    Parameters
    ----------
    features, n, p, kept, draws, seed, on_draw
        As in `predict_random_features`.
    repeats : int
        Training sets for each draw of the first layer, >= 1; their risks are averaged.

    Returns
    -------
    LayerRisks

    Raises
    ------
    InputError
        If a number is out of range.
    """
    sizes = check_sizes(n, p, kept, "simulate_random_features")
    _check_draws(draws, "simulate_random_features")
    _check_draws(repeats, "simulate_random_features", "repeats")
    risks = {model: np.zeros((draws, len(sizes))) for model in Model}
    for draw in range(draws):
        layer = features.layer(p, rng(seed, "layer", p, draw))
        moments = features.moments(layer)
        problem = equivalent_problem(moments).problem
        saliency = problem.variances * problem.coefficients**2
        for repeat in range(repeats):
            generator = rng(seed, "data", n, p, draw, repeat)
            data, fresh = (features.sample(layer, n, generator) for _ in range(2))
            for model, weights in train_prune(data, sizes, saliency, fresh=fresh).items():
                risks[model][draw] += moments.risk(weights) / repeats
        if on_draw is not None:
            on_draw(draw + 1)
    return LayerRisks(n, p, sizes, risks)


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far predictions are from simulations on the same first layers.

    Attributes
    ----------
    percent : ndarray, shape (len(kept),)
        100 (predicted / simulated - 1) of the means.
    stderr_percent : ndarray, shape (len(kept),)
        Standard error of that, from the paired draws.
    """

    percent: FloatArray
    stderr_percent: FloatArray


def compare(predicted: LayerRisks, simulated: LayerRisks, model: Model) -> Comparison:
    """Compare the risks of one model, draw by draw.

    Parameters
    ----------
    predicted, simulated : LayerRisks
        Of the same problem, seed and draws.
    model : Model

    Returns
    -------
    Comparison
    """
    truth = simulated.mean(model)
    with np.errstate(invalid="ignore"):
        ratio = predicted.mean(model) / truth
        # to first order, with the fluctuation of both means
        spread = predicted.risks[model] / truth - ratio * simulated.risks[model] / truth
    return Comparison(100 * (ratio - 1), 100 * standard_error(spread))


def standard_error(values: FloatArray) -> FloatArray:
    """Standard error of the mean over the first axis; NaN for a single row."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def check_sizes(n: int, p: int, kept: Sequence[int], where: str) -> tuple[int, ...]:
    """Refuse sizes that make no sense; return the numbers of features kept.

    Raises
    ------
    InputError
        If n < 3, p < 1, nothing is asked for, or a number kept is outside 1..p.
    """
    if n < 3:
        raise InputError.parameter(
            "n", where, "at least 3", n, "Fewer examples have no finite mean risk."
        )
    if p < 1:
        raise InputError.parameter("p", where, "at least 1", p)
    if not len(kept):
        raise InputError.parameter("s", where, "given", "nothing", "Say how many features to keep.")
    for s in kept:
        if not 1 <= s <= p:
            raise InputError.parameter(
                "s", where, f"between 1 and p = {p}", s, "No more features can be kept than exist."
            )
    return tuple(int(s) for s in kept)


def _check_draws(count: int, where: str, name: str = "draws") -> None:
    if count < 1:
        raise InputError.parameter(name, where, "at least 1", count)
