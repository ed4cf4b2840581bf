"""Language models: log-perplexity from windows of text, and through the divergence of laws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import require
from prunable.forecast.estimators.checks import Check, check_labels, check_number, check_outputs
from prunable.forecast.estimators.estimate import Estimate, of_mean
from prunable.forecast.estimators.found import Found
from prunable.forecast.estimators.labelled import with_labels
from prunable.forecast.estimators.model_error import LAWS, MOST_BY_LAWS
from prunable.numerics.arrays import FloatArray

WHERE = "forecast"
LEAST_WINDOWS, ENOUGH_WINDOWS = 4, 8
# Temperatures of the dense law under which copies are judged; between them costs are a parabola in
# the logarithm of the temperature.
STEP = 1.25
TEMPERATURES = (1 / STEP, 1.0, STEP)
MOST_NATS = 20.0  # of a token: a perplexity given for its logarithm is larger
FIGURES = 2 + len(TEMPERATURES)  # of a window: log-loss, likeliest tokens kept, costs
AT_ONCE = 2**19  # numbers at a time, which stay in the cache


def window_figures(
    before: ArrayLike, after: ArrayLike, tokens: ArrayLike | None = None
) -> FloatArray:
    """What one window of text tells of a network beside the dense one, shape (5,).

    They are the mean log-loss of `after` on the tokens that came, nats, NaN if they are not known;
    the share of positions whose likeliest token stays; and the mean cross-entropy of `after` under
    the law of `before` at each of `TEMPERATURES`.

    Parameters
    ----------
    before, after : Logits of the dense and the other network, (tokens, vocabulary).
    tokens : The next token at each position, (tokens,), -1 where unknown.

    Raises InputError for logits that are not finite or do not fit, and tokens that are none.

    Examples
    --------
    >>> logits = np.log([[0.5, 0.25, 0.25]])
    >>> window_figures(logits, logits, [0]).round(3).tolist()  # the last but one is its entropy
    [0.693, 1.0, 1.01, 1.04, 1.064]
    """
    dense = _window(before, "dense", None)
    other = _window(after, "pruned", dense.shape)
    count, vocabulary = dense.shape
    known = None if tokens is None else check_labels(tokens, (count,), vocabulary, WHERE)
    sums, losses = np.zeros(FIGURES - 1), []
    step = max(1, AT_ONCE // vocabulary)
    precision = np.result_type(other.dtype, np.float32)
    for start in range(0, count, step):
        part = slice(start, start + step)
        one, two = (np.array(rows[part], dtype=precision) for rows in (dense, other))
        for rows in (one, two):
            rows -= rows.max(1, keepdims=True)
        total = np.log(np.exp(two).sum(1))
        sums[0] += np.sum(one.argmax(1) == two.argmax(1))
        for place, temperature in enumerate(TEMPERATURES, 1):
            law = np.exp(one / precision.type(temperature))
            believed = np.einsum("ij,ij->i", law, two) / law.sum(1)
            sums[place] += np.sum(total - believed, dtype=np.float64)
        if known is not None:
            some = np.flatnonzero(known[part] >= 0)
            losses.append(total[some] - two[some, known[part][some]])
    seen = np.concatenate(losses) if losses else np.empty(0)
    return np.array([seen.mean() if len(seen) else np.nan, *(sums / count)])


@dataclass(frozen=True, eq=False)
class LanguageNetwork:
    """A dense language model on windows of text: `figures` (windows, 5) of `window_figures`.

    The unit drawn is the window. Without its tokens the text's law is the dense model's at the
    temperature at which its expected log-perplexity is the known one; a pruned copy costs its
    cross-entropy under that law, less the dense model's own. With them it costs what it loses more
    than the dense model on the same tokens. `steps` is the logarithm of the temperature.
    """

    figures: FloatArray
    known: float | None
    steps: float | None
    known_error: float | None = None  # of a log-perplexity that was measured on the windows

    @property
    def temperature(self) -> float | None:
        """The fitted temperature; None without a log-perplexity."""
        return None if self.steps is None else float(STEP**self.steps)

    @property
    def units(self) -> int:
        """How many were drawn."""
        return len(self.figures)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Windows enough for Student's intervals; a temperature near one."""
        n = len(self.figures)
        enough = n >= ENOUGH_WINDOWS
        said = f"{n} windows" + ("" if enough else f"; give {ENOUGH_WINDOWS}")
        found = [Check("enough windows", enough, said)]
        if self.steps is not None:
            passed = abs(self.steps) < 1
            text = f"log-perplexity {self.known:.3f}: temperature {self.temperature:.2f}"
            odd = ", or beyond: this text is unlike that of the known log-perplexity"
            found.append(Check("plausible temperature", passed, text + ("" if passed else odd)))
        return tuple(found)

    def found(self, pruned: ArrayLike) -> Found:
        """Compare with a copy's figures; what stays are the likeliest tokens."""
        copy = _checked(pruned, "pruned", self.figures.shape)
        stays = of_mean(copy[:, 1])
        if self.known is None or self.steps is None:
            return Found(None, 0.0, stays)
        own, slopes = _at(self.figures, self.steps)
        costs, others = _at(copy, self.steps)
        change, slope = costs - own, float(slopes.mean())
        weight = float(np.mean(others - slopes)) / slope if slope else 0.0
        influence = change - change.mean() - weight * (own - own.mean())
        laws = Estimate(self.known + float(change.mean()), influence, 1 + weight)
        model = abs(float(change.mean()))
        if abs(self.steps) < 1:  # else the text follows no law that the model knows
            model = min(LAWS * model, MOST_BY_LAWS)
        outcome = copy[:, 0] - self.figures[:, 0]
        known = outcome[~np.isnan(outcome)]
        tokens = self.known + float(known.mean()) if len(known) else None
        both, model = with_labels(laws, model, self.known, outcome, change, 0.0)
        return Found(both, model, stays, laws.value, tokens)


def language_network(dense: ArrayLike, accuracy: float | None) -> LanguageNetwork:
    """Check the figures of a dense model's windows and fit the temperature.

    `accuracy` is the known log-perplexity in nats a token; without it the windows' own is taken,
    where their tokens are known.
    """
    figures = _checked(dense, "dense", None)
    n, losses = len(figures), figures[:, 0][~np.isnan(figures[:, 0])]
    require(n >= LEAST_WINDOWS, "inputs", WHERE, f"at least {LEAST_WINDOWS} windows of text", n)
    error = None
    if accuracy is not None:
        known = check_number(accuracy, WHERE)
        asked = f"Did you mean {np.log(known):.4g}, of a perplexity?" if known > 1 else ""
        wanted = f"a log-perplexity in nats a token, above 0 and below {MOST_NATS:g}"
        require(0 < known < MOST_NATS, "accuracy", WHERE, wanted, accuracy, asked)
    elif len(losses) >= LEAST_WINDOWS:
        known, error = float(losses.mean()), float(losses.std(ddof=1) / np.sqrt(len(losses)))
    else:
        return LanguageNetwork(figures, None, None)
    return LanguageNetwork(figures, known, _fitted(figures, known), error)


def _checked(values: ArrayLike, param: str, shape: tuple[int, ...] | None) -> FloatArray:
    """Figures of windows, finite but for log-losses of unknown tokens."""
    array = np.array(values, dtype=np.float64)
    wanted = f"(windows, {FIGURES}) of `window_figures`"
    fits = array.ndim == 2 and array.shape[1] == FIGURES and shape in (None, array.shape)
    require(fits, param, WHERE, wanted, f"the shape {array.shape}")
    whole = np.isfinite(array[:, 1:]).all() and not np.isinf(array).any()
    require(whole, param, WHERE, "finite", "NaN or infinity in a window")
    figures = (array[:, 1:] >= 0).all() and (array[:, 1] <= 1).all()
    require(figures, param, WHERE, wanted, "shares and costs that are none")
    return array


def _window(values: ArrayLike, param: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Check one window; it stays in its own precision, which all windows together may need."""
    array = np.asarray(values)
    if array.dtype.kind != "f" or array.ndim != 2:
        check_outputs(array, param, WHERE, least=1, shape=shape)
    require(shape is None or array.shape == shape, param, WHERE, f"of shape {shape}", array.shape)
    require(np.isfinite(array).all(), param, WHERE, "finite", "NaN or infinity in a window")
    return array


def _at(figures: FloatArray, steps: float) -> tuple[FloatArray, FloatArray]:
    """Costs (windows,) at a temperature of so many steps, and their slopes: of a parabola."""
    low, middle, high = figures[:, 2:].T
    slope, curvature = (high - low) / 2, high - 2 * middle + low
    return middle + steps * slope + steps**2 / 2 * curvature, slope + steps * curvature


def _fitted(figures: FloatArray, known: float) -> float:
    """The steps of temperature at which the mean cost is the known one, at most one either way."""
    low, middle, high = figures[:, 2:].mean(0)
    slope, curvature, gap = (high - low) / 2, high - 2 * middle + low, known - middle
    root = np.sqrt(max(slope**2 + 2 * curvature * gap, 0.0))
    return float(np.clip(2 * gap / (slope + root), -1, 1)) if slope + root > 0 else 0.0
