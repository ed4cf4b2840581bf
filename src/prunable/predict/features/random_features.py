"""Random-features regression: risks predicted by equivalent problems, and simulated.

Section 3.2 of Chang et al. (2020): inputs a ~ N(0, I_d), features g(R a) of a random first
layer, targets psi(beta . a) + noise. The second layer is fitted by least squares; pruning
keeps s features. Everything is averaged over draws of the first layer.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from prunable.errors import InputError, check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.randomness import rng
from prunable.predict.features import kernels
from prunable.predict.features.models import check_sizes, predict_models, standard_error
from prunable.predict.features.moments import Moments, equivalent_problem
from prunable.predict.linear.names import Model, or_none
from prunable.predict.linear.simulate import Sample, train_prune

OnDraw = Callable[[int], None]

TABLE = "random_features_validity.json"
# Outside by more than this factor, the table does not speak.
SLACK = 1.5
AXES = ("d", "n", "p_over_n", "s_over_n")


@dataclass(frozen=True)
class RandomFeatures:
    """A random-features regression; the paper's by default.

    Raises `InputError` if a value is out of range or a name unknown.
    """

    d: int = 10  # inputs, >= 1
    # g, a name or a callable
    activation: kernels.Activation | str | kernels.Function = kernels.Activation.RELU
    # psi, likewise; the direction beta has length 1
    link: kernels.Link | str | kernels.Function = kernels.Link.SQUARE
    noise: float = 0.0  # standard deviation of noise added to the targets, >= 0
    # standard deviation of the entries of R, > 0; it matters unless g is homogeneous
    weight_scale: float = 1.0
    degree: int = kernels.DEGREE  # of the Hermite series, where there is no closed form

    def __post_init__(self) -> None:
        where = "RandomFeatures"
        check_at_least(self.d, 1, "d", where)
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise InputError.parameter("noise", where, "finite and not negative", self.noise)
        valid = math.isfinite(self.weight_scale) and self.weight_scale > 0
        require(valid, "weight_scale", where, "finite and positive", self.weight_scale)
        kernels.activation_function(self.activation)
        kernels.link_function(self.link)

    def layer(self, p: int, generator: np.random.Generator) -> FloatArray:
        """Draw the first layer R, shape (p, d)."""
        return self.weight_scale * generator.standard_normal((p, self.d))

    def moments(self, layer: FloatArray) -> Moments:
        """Moments of features and target, exact up to the end of the Hermite series.

        Their `risk` is the population risk of given weights.
        """
        second = kernels.feature_kernel(layer, self.activation, degree=self.degree)
        # inputs and layer are rotation invariant: the first axis is any direction
        direction = np.eye(self.d)[0]
        cross = kernels.cross_moment(
            layer, direction, self.activation, self.link, degree=self.degree
        )
        target = kernels.second_moment(kernels.link_function(self.link)) + self.noise**2
        return Moments(second, cross, target)

    def sample(self, layer: FloatArray, n: int, generator: np.random.Generator) -> Sample:
        """Draw n training examples."""
        inputs = generator.standard_normal((n, self.d))
        x = kernels.activation_function(self.activation)(inputs @ layer.T)
        y = kernels.link_function(self.link)(inputs[:, 0]) + self.noise * generator.standard_normal(
            n
        )
        return Sample(np.asarray(x, dtype=np.float64), y)


@dataclass(frozen=True, eq=False)
class LayerRisks:
    """Risks for each draw of the first layer; all include the noise."""

    # n, p, kept: examples, features, features kept
    n: int
    p: int
    kept: tuple[int, ...]
    # by model, shape (draws, len(kept)); infinite where the law has no finite variance, at p = n,
    # or at s = n after retraining
    risks: dict[Model, FloatArray]
    condition: float = math.nan  # largest condition number of the feature covariances
    n_floored: int = 0  # most eigenvalues that were raised to the floor
    residual: float = 0.0  # largest relative residual of the fixed points

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
    n : training examples, >= 3
    kept : features kept after pruning, each in 1..p
    draws : of the first layer, >= 1
    """
    where = "predict_random_features"
    sizes = check_sizes(n, p, kept, where)
    check_at_least(draws, 1, "draws", where)
    equivalents, found = [], []
    for draw in range(draws):
        layer = features.layer(p, rng(seed, "layer", p, draw))
        equivalents.append(equivalent_problem(features.moments(layer)))
        generator = rng(seed, "law", n, p, draw)
        found.append(predict_models(equivalents[-1].problem, n, sizes, rng=generator))
        if on_draw is not None:
            on_draw(draw + 1)
    return LayerRisks(
        n,
        p,
        sizes,
        {model: np.array([one.risks[model] for one in found]) for model in Model},
        max(one.condition for one in equivalents),
        max(one.n_floored for one in equivalents),
        max(one.law.residual for one in found),
    )


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

    Parameters as in `predict_random_features`; the risks of `repeats` training sets for each
    draw of the first layer are averaged.
    """
    where = "simulate_random_features"
    sizes = check_sizes(n, p, kept, where)
    check_at_least(draws, 1, "draws", where)
    check_at_least(repeats, 1, "repeats", where)
    risks = {model: np.zeros((draws, len(sizes))) for model in Model}
    for draw in range(draws):
        layer = features.layer(p, rng(seed, "layer", p, draw))
        moments = features.moments(layer)
        saliency = equivalent_problem(moments).problem.saliencies
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
    """100 (predicted / simulated - 1) of the means, and its standard error from paired draws."""

    percent: FloatArray
    stderr_percent: FloatArray


def compare(predicted: LayerRisks, simulated: LayerRisks, model: Model) -> Comparison:
    """Compare the risks of one model on the same first layers, draw by draw."""
    truth = simulated.mean(model)
    with np.errstate(invalid="ignore"):
        ratio = predicted.mean(model) / truth
        # to first order, with the fluctuation of both means
        spread = predicted.risks[model] / truth - ratio * simulated.risks[model] / truth
    return Comparison(100 * (ratio - 1), 100 * standard_error(spread))


def points(predicted: LayerRisks, simulated: LayerRisks | None) -> list[dict[str, Any]]:
    """One row a number kept, as `predict rf --json` has them."""
    columns = {"risk": predicted.mean, "stderr": predicted.stderr}
    if simulated is not None:
        truth = simulated
        columns |= {
            "measured": truth.mean,
            "measured_stderr": truth.stderr,
            "error_percent": lambda model: compare(predicted, truth, model).percent,
        }
    return [
        {
            "width": predicted.p,
            "n": predicted.n,
            "s": s,
            **{
                key: {model.value: or_none(of(model)[i]) for model in Model}
                for key, of in columns.items()
            },
        }
        for i, s in enumerate(predicted.kept)
    ]


@dataclass(frozen=True)
class Validity:
    """How far predictions were from simulations in one cell of a measured grid.

    ReLU features and the quadratic target; features and features kept per example. `inside`
    says whether the setting asked for lies within the grid, up to a factor of 1.5. Errors are
    100 (predicted / simulated - 1) by model, with their standard errors.
    """

    inside: bool
    d: int
    n: int
    p_over_n: float
    s_over_n: float
    error_percent: dict[str, float]
    stderr_percent: dict[str, float]


@lru_cache(maxsize=1)
def validity_table() -> dict[str, Any]:
    """Read the table that comes with the package; `tools/predict_features_study.py` writes it."""
    text = files("prunable.predict.features").joinpath(TABLE).read_text()
    document: dict[str, Any] = json.loads(text)
    return document


def nearest_cell(d: int, n: int, p: int, s: int) -> Validity:
    """Look up the measured setting that is nearest by the logarithms of d, n, p / n and s / n."""
    asked = (d, n, p / n, s / n)
    cells = validity_table()["cells"]

    def distance(cell: dict[str, Any]) -> float:
        return math.hypot(
            *(math.log(cell[axis] / value) for axis, value in zip(AXES, asked, strict=True))
        )

    found = min(cells, key=distance)
    ranges = [sorted(cell[axis] for cell in cells) for axis in AXES]
    inside = all(
        low[0] / SLACK <= value <= low[-1] * SLACK for low, value in zip(ranges, asked, strict=True)
    )
    return Validity(inside=inside, **found)
