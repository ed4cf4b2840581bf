"""Stages of the theorem and the examples of the 2020 paper: simulations beside their formulas."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prunable.numerics.arrays import FloatArray
from prunable.numerics.randomness import rng
from prunable.papers.chang2020 import specs
from prunable.predict.linear.coefficients import Coefficients
from prunable.predict.linear.examples import denoising_errors, rank_one_risks
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.presets import preset
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning import top_mask
from prunable.predict.linear.simulate import draw_data, least_squares
from prunable.runs.store import Run

QUANTILES = np.linspace(0.005, 0.995, 100)


def coefficient_law(spec: specs.CoefficientLawSpec, run: Run) -> dict[str, Any]:
    """Distances of the empirical law of sqrt(p) times the coefficients from the predicted one.

    Gives `distance` and `independent`, a list a size of a number a data set: the second of
    independent draws from the law itself, which no data set can better on average. `quantiles` of
    the first data set of the largest size, `found` and `predicted`.
    """
    found: dict[str, Any] = {"distance": [], "independent": []}
    for place, p in enumerate(spec.sizes):
        problem = preset(f"fig7{spec.panel}", p=p, sigma=spec.sigma).problem
        n = round(spec.ratio * p)
        generator = rng(spec.seed, "chang2020", "law", spec.panel, p, n)
        law = predict_law(problem, n)
        fitted = np.array(
            [least_squares(*draw_data(problem, n, generator)) for _ in range(spec.draws)]
        )
        predicted = Coefficients(law)
        for name, rows in (
            ("distance", fitted),
            ("independent", law.sample(generator, spec.draws)),
        ):
            found[name].append((math.sqrt(p) * predicted.distances(rows)).tolist())
        found["quantiles"] = {
            "found": (math.sqrt(p) * np.quantile(fitted[0], QUANTILES)).tolist(),
            "predicted": (math.sqrt(p) * predicted.ppf(QUANTILES)).tolist(),
        }
        run.on_step(place + 1)
    return found


def direction(p: int) -> FloatArray:
    """Features of lemma 1's example: of decaying size, of length 1."""
    lam = 1 / np.sqrt(np.arange(1.0, p + 1))
    return np.asarray(lam / np.linalg.norm(lam), dtype=np.float64)


def rank_one(spec: specs.RankOneSpec, run: Run) -> dict[str, Any]:
    """Excess risks after pruning and retraining, by magnitude.

    Gives `pruned` and `retrained`, a list a size kept of {predicted, mean, stderr} a sample size.
    """
    lam, beta = direction(spec.p), np.ones(spec.p)
    problem = LinearGaussianProblem.dense(np.outer(lam, lam), beta, spec.sigma)
    found: dict[str, Any] = {
        "pruned": [[] for _ in spec.kept],
        "retrained": [[] for _ in spec.kept],
    }
    for place, n in enumerate(spec.samples):
        generator = rng(spec.seed, "chang2020", "rank one", n)
        errors: dict[tuple[int, str], list[float]] = {}
        for _ in range(spec.trials):
            g = generator.standard_normal(n)
            x = np.outer(g, lam)
            y = x @ beta + spec.sigma * generator.standard_normal(n)
            fitted = least_squares(x, y)
            for at, s in enumerate(spec.kept):
                mask = top_mask(fitted, s)
                again = np.zeros(spec.p)
                again[mask] = least_squares(x[:, mask], y)
                for name, weights in (("pruned", fitted * mask), ("retrained", again)):
                    errors.setdefault((at, name), []).append(float(lam @ (weights - beta)) ** 2)
        for at, s in enumerate(spec.kept):
            predicted = rank_one_risks(lam, problem.coefficients, spec.sigma, n, s)
            for name in ("pruned", "retrained"):
                row = _row(getattr(predicted, name), errors[at, name])
                found[name][at].append(row)
        run.on_step(place + 1)
    return found


def denoising(spec: specs.DenoisingSpec, run: Run) -> dict[str, Any]:
    """Squared errors of the coefficients of the first features, which are the most salient.

    Gives `alone` and `among_all`, a list a size of {predicted, mean, stderr} a sample size.
    """
    beta = direction(spec.p)
    problem = LinearGaussianProblem.diagonal(1.0, beta, spec.sigma)
    found: dict[str, Any] = {"alone": [[] for _ in spec.kept], "among_all": [[] for _ in spec.kept]}
    for place, n in enumerate(spec.samples):
        generator = rng(spec.seed, "chang2020", "denoising", n)
        data = [draw_data(problem, n, generator) for _ in range(spec.trials)]
        whole = [least_squares(*sample) for sample in data]
        for at, s in enumerate(spec.kept):
            predicted = denoising_errors(beta, spec.sigma, n, s)
            alone = [least_squares(sample.x[:, :s], sample.y) for sample in data]
            for name, fits in (("alone", alone), ("among_all", whole)):
                errors = [float(((fit[:s] - beta[:s]) ** 2).sum()) for fit in fits]
                found[name][at].append(_row(getattr(predicted, name), errors))
        run.on_step(place + 1)
    return found


def _row(predicted: float, errors: Sequence[float]) -> dict[str, float]:
    values = np.array(errors)
    stderr = float(values.std(ddof=1)) / math.sqrt(values.size)
    return {"predicted": predicted, "mean": float(values.mean()), "stderr": stderr}
