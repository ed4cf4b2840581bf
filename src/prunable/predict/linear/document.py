"""The risk of a linear model after pruning, before training anything."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from prunable.errors import InputError, require
from prunable.numerics.randomness import rng
from prunable.predict.linear.coefficients import Coefficients
from prunable.predict.linear.curves import Risks, Wanted, predict_risks
from prunable.predict.linear.names import Method, Model, or_none
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.pruning import DRAWS
from prunable.predict.linear.solution import Regime
from prunable.results import Result

# Numbers that draws may hold together.
LARGEST_DRAW = 20_000_000


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """Predicted risks of one linear Gaussian problem. All risks include sigma^2.

    >>> import prunable
    >>> found = prunable.predict.lgp(n=300, p=100, s=50)
    >>> found.risk["dense"], found.to_dict()["settings"]["s"], str(found.coefficients.law.regime)
    (0.0, 50, 'underparameterized')
    """

    # by `Model`; "retrained" on fresh data, "retrained_same_data" where it is predicted
    risks: Risks
    s: int  # features kept
    method: Method  # after which was retrained
    finite_n: bool  # whether exact expectations at this n replace limits where they are known
    notes: tuple[str, ...]  # what a reader of the numbers should know

    def __repr__(self) -> str:
        law = self.risks.law
        sizes = f"n={law.n}, p={law.problem.p}, s={self.s}"
        return f"Prediction({sizes}, {', '.join(f'{k}={v:.4g}' for k, v in self.risk.items())})"

    @property
    def risk(self) -> dict[str, float]:
        """Risks by name."""
        return {name: risk.value for name, risk in self.risks.risk.items()}

    @property
    def coefficients(self) -> Coefficients:
        """Law of the learned coefficients."""
        return Coefficients(self.risks.law)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values; infinite risks are null, and named in the notes."""
        law = self.risks.law
        problem = law.problem
        risk = {model.value: or_none(self.risk.get(model, math.nan)) for model in Model}
        same_data = risk.pop(Model.RETRAINED_SAME)
        return {
            "settings": {
                "n": law.n,
                "p": problem.p,
                "s": self.s,
                "sigma": problem.sigma,
                "covariance": problem.kind.value,
                "rank": law.rank,
                "overparam_ratio": problem.p / law.n,
                "method": self.method.value,
                "finite_n": self.finite_n,
            },
            "risk": risk,
            "fixed_point": {
                "xi": or_none(law.xi),
                "gamma": or_none(law.gamma),
                "residual": law.residual,
            },
            "regime": law.regime.value,
            "exact_dense_risk": None if law.exact_risk is None else or_none(law.exact_risk),
            "retrained_same_data": same_data,
            "standard_error": {n: r.stderr for n, r in self.risks.risk.items() if r.stderr > 0},
            "notes": list(self.notes),
        }

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"model": n, "risk": r.value, "stderr": r.stderr} for n, r in self.risks.risk.items()
        ]


def problem_of(
    p: int | None = None,
    sigma: float = 0.0,
    *,
    spectrum: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    eigenvectors: Literal["features", "random"] = "features",
) -> LinearGaussianProblem:
    """Build a problem from what is known of it.

    Raises InputError if the arguments contradict each other, or are out of range.

    >>> problem_of(p=50, sigma=0.5).signal
    1.0

    Parameters
    ----------
    sigma : standard deviation of the noise, >= 0
    spectrum : (p,) eigenvalues of the covariance; 1 by default
    signal : (p,) coefficients, not multiplied by sqrt(p); 1 / sqrt(p) by default
    covariance : in the place of `spectrum`: the (p, p) matrix
    """
    where = "predict.lgp"
    if spectrum is not None and covariance is not None:
        raise InputError("give `predict.lgp` the spectrum or the covariance, not both.")
    sizes = {
        name: np.shape(array)[0]
        for name, array in (("spectrum", spectrum), ("signal", signal), ("covariance", covariance))
        if array is not None and np.ndim(array) > 0
    }
    size = p if p is not None else next(iter(sizes.values()), None)
    if size is None:
        raise InputError.parameter("p", where, "given", None, "Or give a spectrum or a signal.")
    whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
    fine = whole and 1 <= size < 2**31
    require(fine, "p", where, "a positive integer below 2^31", str(size)[:40])
    for name, array in (("spectrum", spectrum), ("signal", signal)):
        shape = () if array is None else np.shape(array)
        require(len(shape) < 2, name, where, "one-dimensional", f"the shape {shape}")
    for name, found in sizes.items():
        require(found == size, name, where, f"of length p = {size}", found)
    beta = np.full(size, 1 / math.sqrt(size)) if signal is None else signal
    if covariance is not None:
        return LinearGaussianProblem.dense(covariance, beta, sigma)
    values = np.ones(size) if spectrum is None else spectrum
    if eigenvectors == "random":
        return LinearGaussianProblem.spectral(values, beta, sigma)
    return LinearGaussianProblem.diagonal(values, beta, sigma)


def lgp(
    n: int,
    p: int | None = None,
    s: int | None = None,
    sigma: float = 0.0,
    *,
    spectrum: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    problem: LinearGaussianProblem | None = None,
    method: Method | str = Method.MAGNITUDE,
    finite_n: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Prediction:
    """Predict the dense, pruned and retrained risk of a linear Gaussian problem.

    >>> import prunable
    >>> risks = prunable.predict.lgp(n=300, p=100, s=100, sigma=1.0).risk
    >>> round(risks["dense"], 6)
    1.5

    Parameters
    ----------
    s : features kept, 1 <= s <= p; all by default
    """
    if problem is None:
        problem = problem_of(p, sigma, spectrum=spectrum, signal=signal, covariance=covariance)
    if method not in [m.value for m in Method]:
        raise InputError.parameter("method", "predict.lgp", f"one of {', '.join(Method)}", method)
    chosen, kept = Method(method), problem.p if s is None else s
    features = problem.kind != Covariance.SPECTRAL
    small = problem.p * draws <= LARGEST_DRAW
    wanted = Wanted(
        retrain_by=(chosen,) if features else (),
        same_data_by=(chosen,) if features and small else (),
        finite_n=finite_n,
        draws=draws,
    )
    found = predict_risks(problem, n, kept, wanted, rng=rng(seed, "predict", "lgp"))
    # one name whatever the method, which the settings tell
    renamed = {m.after(chosen): m.value for m in (Model.RETRAINED, Model.RETRAINED_SAME)}
    risks = Risks(found.law, {renamed.get(k, k): v for k, v in found.risk.items()})
    return Prediction(risks, kept, chosen, finite_n, tuple(_notes(risks, kept)))


def _notes(risks: Risks, s: int) -> list[str]:
    law = risks.law
    problem, notes = law.problem, []
    if law.regime == Regime.AT:
        what = "exact recovery" if law.finite else "an infinite expected risk"
        notes.append(f"n = {law.n} is the number of features of positive variance: {what}.")
    if law.rank < problem.p:
        notes.append(f"{problem.p - law.rank} directions have no variance and do not count.")
    retrained = risks.risk.get(Model.RETRAINED)
    same = risks.risk.get(Model.RETRAINED_SAME)
    if retrained is not None:
        text = "retrained: on fresh data of the same size (definition 5 of the 2020 paper)"
        if same is not None and math.isfinite(retrained.value):
            known = retrained.value > 1e-12 * problem.signal
            gap = f" ({100 * (same.value / retrained.value - 1):+.1f} %)" if known else ""
            text += f"; on the same data {same.value:.4g}{gap}, by our own derivation"
        notes.append(text + ".")
        if not math.isfinite(retrained.value):
            notes.append(f"s = {s} features from {law.n} samples: no finite risk when retrained.")
    elif problem.kind == Covariance.SPECTRAL:
        notes.append("eigenvectors lie anywhere: pruned risks are means over their directions.")
    if law.exact_risk is not None and law.exact_risk != law.risk:
        exact = f"{law.exact_risk:.6g}" if math.isfinite(law.exact_risk) else "infinite"
        notes.append(f"dense: the expectation at this very n is {exact}; see finite_n.")
    return notes
