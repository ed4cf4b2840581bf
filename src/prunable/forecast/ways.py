"""Ways to prune that are forecast: a strategy and how layers share, named METHOD/ALLOCATION."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from prunable.errors import InputError, nearest, require
from prunable.nets.prune.choices import CALIBRATED, Method, Scope, ShareRule, pattern_of
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.strategies import Strategy, UnitPruning
from prunable.nets.prune.strategies.named import strategy_named

# How a share of all weights is divided: by one threshold, equally, or by a rule of `ShareRule`.
GLOBAL, LAYER = "global", "layer"
PATTERN = re.compile(r"(n|\d{1,4}):(\d{1,4})")
USUAL = ("magnitude/global", "magnitude/lamp", "magnitude/layer", "wanda/lamp", "2:4", "unit/layer")
KEEPS = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05)
BY_ERRORS = ("optimum", "atp")  # rules that divide by what outputs lose
FITTED = "calibrated/lamp"  # which takes long, and needs inputs of its own
# Of language models, whose layers are rarely given different shares.
LANGUAGE = ("magnitude/layer", "wanda/layer", "obs/layer")
LANGUAGE_KEEPS = (0.8, 0.7, 0.6, 0.5, 0.4)
_BASES = {"magnitude": GLOBAL, "wanda": "lamp", "obs": "lamp", "calibrated": "lamp", "unit": LAYER}


@dataclass(frozen=True)
class Way:
    """A way to prune a network to any share, or to those of its patterns.

    `method` and `allocation` are the words of `prunable prune`, "global" being one threshold on the
    scores of all weights, and "layer" the same share of every layer.
    """

    method: str
    allocation: str
    patterns: tuple[tuple[int, int], ...] = ()  # n of each m inputs stay: one point each

    @property
    def name(self) -> str:
        """METHOD/ALLOCATION, or the pattern."""
        return self.method if self.patterns else f"{self.method}/{self.allocation}"

    @property
    def needs_inputs(self) -> bool:
        """Whether weights go by what flows into the layers."""
        return self.method in CALIBRATED

    @property
    def refits(self) -> bool:
        """Whether what stays is fitted to inputs."""
        return self.method in ("obs", "calibrated")

    @property
    def needs_products(self) -> bool:
        """Whether errors of outputs are weighed; else inputs' sizes suffice."""
        return self.refits or (self.needs_inputs and self.allocation in BY_ERRORS)

    @property
    def of_units(self) -> bool:
        """Whether coupled units go, which shrink a network in any runtime."""
        return self.method == "unit"

    def keeps(self, asked: Sequence[float]) -> tuple[float, ...]:
        """The shares that a way can keep, falling: those asked for, or of its patterns."""
        found = [n / m for n, m in self.patterns] if self.patterns else asked
        return tuple(sorted(set(found), reverse=True))

    def strategy(self, keep: float) -> tuple[Strategy, Keep]:
        """What `prune` takes for one share."""
        if self.patterns:
            pattern = next(x for x in self.patterns if x[0] / x[1] == keep)
            return strategy_named("n:m", n_m=pattern), Keep(keep)
        scope: Scope = "layer" if self.allocation == LAYER else "global"
        if self.of_units:
            return UnitPruning(strategy_named("unit")), Keep(keep, scope)
        method: Any = self.method
        rule: Any = "threshold" if self.allocation in (GLOBAL, LAYER) else self.allocation
        return strategy_named(method, rule), Keep(keep, scope)

    def options(self, keep: float) -> dict[str, str]:
        """The options of `prunable prune` that prune this way to one share."""
        if self.patterns:
            n, m = next(x for x in self.patterns if x[0] / x[1] == keep)
            return {"--method": "n:m", "--n-m": f"{n}:{m}"}
        found = {"--method": self.method, "--keep": f"{keep:g}"}
        if self.allocation != LAYER:
            found["--scope"] = "global"
            if self.allocation != GLOBAL:
                found["--allocation"] = self.allocation
        return found


def way_named(text: str, where: str = "forecast", kind: str = "") -> Way:
    """The way of a name: magnitude/lamp, magnitude (one threshold), 2:4, n:4, unit, ...

    n:4 stands for 3, 2 and 1 of each 4 inputs. Without an allocation it is the method's usual one,
    of the kind "language" the same share of every layer.

    Raises InputError, which lists what there is.

    >>> way_named("magnitude").name, way_named("n:4").keeps([])
    ('magnitude/global', (0.75, 0.5, 0.25))
    """
    if found := PATTERN.fullmatch(text):
        n, m = found.groups()
        require(int(m) > 1, "methods", where, "n:m with m of 2 at least", text)
        all_of_m = tuple((i, int(m)) for i in range(int(m) - 1, 0, -1))
        return Way(text, LAYER, all_of_m if n == "n" else (pattern_of(text, where),))
    method, slash, allocation = text.partition("/")
    rules = (GLOBAL, LAYER, *(rule for rule in get_args(ShareRule) if rule != "threshold"))
    if method in _BASES and (not slash or allocation in rules):
        usual = LAYER if kind == "language" else _BASES[method]
        return _checked(Way(method, allocation if slash else usual), text, where)
    wanted = (
        f"METHOD or METHOD/ALLOCATION with a method of {', '.join(_BASES)} and an allocation of "
        f"{', '.join(rules)}; or a pattern such as 2:4"
    )
    names = [f"{base}/{rule}" for base in _BASES for rule in rules]
    near = nearest(f"magnitude/{text}" if text in rules else text, [*_BASES, *names]).strip()
    raise InputError.parameter("methods", where, wanted, text, near)


def _checked(way: Way, text: str, where: str) -> Way:
    assert way.method in get_args(Method)
    plain = not way.of_units or way.allocation in (GLOBAL, LAYER)
    require(plain, "methods", where, "unit/global or unit/layer, where units go", text)
    # one threshold is what the usual way takes for the rule it is made with
    whole = way.method != "calibrated" or way.allocation != GLOBAL
    require(whole, "methods", where, "calibrated with another allocation than global", text)
    return way


def ways_named(names: Sequence[str], where: str = "forecast", kind: str = "") -> tuple[Way, ...]:
    """Ways by names, each once; see `way_named`."""
    require(len(names) > 0, "methods", where, "one or more", "none")
    return tuple(dict.fromkeys(way_named(name, where, kind) for name in names))


def checked_keeps(keeps: Sequence[float], where: str = "forecast") -> tuple[float, ...]:
    """Shares to keep, falling, each once; InputError unless they are within (0, 1]."""
    require(len(keeps) > 0, "keeps", where, "one or more shares", "none")
    for keep in keeps:
        number = isinstance(keep, int | float) and not isinstance(keep, bool)
        require(number and 0 < keep <= 1, "keeps", where, "a share above 0 and at most 1", keep)
    return tuple(sorted({float(keep) for keep in keeps}, reverse=True))
