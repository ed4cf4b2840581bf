"""What to measure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from prunable.errors import InputError
from prunable.numerics.checks import check_order

SpectrumMode = Literal["auto", "exact", "none"]


@dataclass(frozen=True)
class Options:
    """What to measure; a value out of range is an InputError.

    Attributes
    ----------
    eps : Relative errors at which kept shares are reported, each in (0, 1]; sorted.
    p : Order of the norm of the errors, positive and finite.
    seed : Of subsamples and of the random numbers of estimators.
    spectrum : Whether singular values of matrices with both sides above 2048 are estimated ("auto")
        or computed, and whether there is a spectrum at all.
    authors : Whether to add the 2021 paper's own procedure.
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
        check_order(self.p, where)
        if self.spectrum not in get_args(SpectrumMode):
            raise InputError.parameter("spectrum", where, "auto, exact or none", self.spectrum)
        object.__setattr__(self, "eps", tuple(sorted(set(map(float, self.eps)))))

    @property
    def middle_eps(self) -> float:
        """The error at which one number has to stand for a curve."""
        return self.eps[len(self.eps) // 2]

    def by_eps(self, shares: Iterable[float]) -> dict[str, float]:
        """Name one share for each eps, in their order; see `eps_key`."""
        return {eps_key(e): float(share) for e, share in zip(self.eps, shares, strict=True)}


def eps_key(eps: float) -> str:
    """How an error is spelled where it is a key: "0.1"."""
    return f"{eps:g}"
