"""Subnetworks of random networks: theorems 6.1 and 6.2 of Guha, Dubey and Huo (2023)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term
from prunable.certify.bounds.checks import check_finite, check_positive
from prunable.certify.bounds.counting import constant_taken, counting_bound
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts, default_tau
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import SOURCE
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.errors import check_at_least, require

_WIDE = Assumption("the random network is wide enough", "unchecked", "poly(d_0, n_F, L, 1/eps)")
_NO_TARGET = Assumption("||W_l||_2 <= 1, max |W_l| <= 1/sqrt(n_in)", "unchecked", "no target")


@dataclass(frozen=True)
class WinningTicket:
    """A subnetwork of a random network that stands for a target network.

    The margin is the sum of eps of theorem 6.1 and eps_rho of the rounding to steps of rho.
    """

    inputs: int  # d_0, n_F and L of the target network
    hidden: int
    depth: int
    width: int  # D_G, hidden units of the random network, >= 2
    step: float  # rho, inside (0, 1)
    approximation: float  # eps
    rounding: float = 0.0  # eps_rho
    power: float = 2.0  # c in the failure probability L D_G^-c of sketching
    constant: float = 1.0  # of O(.)

    def __post_init__(self) -> None:
        where, sizes = "WinningTicket", (self.inputs, self.hidden, self.depth)
        require(min(sizes) >= 1, "inputs, hidden, depth", where, "at least 1 each", sizes)
        check_at_least(self.width, 2, "width", where)
        require(0 < self.step < 1, "step", where, "inside (0, 1)", self.step)
        check_positive(self.approximation, "approximation", where)
        check_finite(self.rounding, "rounding", where)

    def weights(self) -> BoundResult:
        """Count the active weights, c (d_0 n_F + n_F^2 L): theorem 6.1."""
        sizes = (
            Term.of("d_0 n_F", self.inputs * self.hidden, "first layer"),
            Term.of("n_F^2 L", self.hidden**2 * self.depth, "other layers"),
        )
        meaning = "weights of the target, up to a constant"
        return BoundResult(
            "active weights of a subnetwork",
            (
                Term.of("c", self.constant, "constant of O(.)"),
                Term.made("d_0 n_F + n_F^2 L", SUM, meaning, *sizes),
            ),
            PRODUCT,
            (_WIDE, constant_taken(self.constant)),
            f"{SOURCE}, theorem 6.1 (Malach et al. 2020, theorem 2.1)",
            quantity="count",
        )

    def bound(
        self, margins: ArrayLike, *, delta: float = 0.05, target: Sequence[LayerFacts] | None = None
    ) -> BoundResult:
        """Bound the risk of the subnetwork: theorem 6.2.

        The margins are its own on the training set, `delta` is the failure probability of
        theorem 6.1. The conditions on the layers of the target are checked if they are given.
        """
        squared = math.log(self.width) ** 2
        first, others = self.hidden * self.inputs, self.depth * self.hidden**2
        numbers = Term.made(
            "numbers",
            SUM,
            "numbers of all sketches",
            Term.of("n_F d_0 ln^2(D_G)", first * squared, "sketch of the first layer"),
            Term.of("L n_F^2 ln^2(D_G)", others * squared, "sketches of the others"),
        )
        per_number = Term.of("ln(1/rho)", -math.log(self.step), "nats of a number")
        found = counting_bound(
            margins,
            Term.made(
                "nats", PRODUCT, "nats of a network", numbers, per_number, equation="theorem 6.2"
            ),
            gamma=self.approximation + self.rounding,
            delta=delta,
            name="subnetwork of a random network",
            statement="theorem 6.2",
            assumptions=(
                *((_NO_TARGET,) if target is None else target_conditions(target)),
                _WIDE,
                rebuilt("theorem 6.2"),
            ),
            constant=self.constant,
        )
        return replace(found, delta=delta + self.depth * self.width**-self.power)


def target_conditions(layers: Sequence[LayerFacts]) -> tuple[Assumption, ...]:
    """Check what theorem 6.1 asks of the target network, each at its worst layer.

    Spectral norms are at most 1, and entries at most 1 / sqrt(inputs).
    """
    norm = max(layers, key=lambda layer: layer.spectral)
    entry = max(layers, key=lambda layer: layer.max_abs * math.sqrt(layer.inputs))
    limit = -0.5 * math.log(entry.inputs)
    return (
        at_most("||W_l||_2 <= 1", safe_log(norm.spectral), 0.0, norm.name),
        at_most("max |W_l| <= 1/sqrt(n_in)", safe_log(entry.max_abs), limit, entry.name),
    )


def ticket_of(facts: NetworkFacts) -> WinningTicket:
    """Take a network for the target of theorem 6.1; see `ticket_bound`."""
    eps = default_tau(facts.margins) / 3
    inputs, depth = facts.layers[0].inputs, facts.depth
    hidden = max((layer.outputs for layer in facts.layers[:-1]), default=facts.classes)
    width = max(2, math.ceil(inputs * hidden * depth / eps))
    return WinningTicket(inputs, hidden, depth, width, step=2.0**-32, approximation=eps)


def ticket_bound(facts: NetworkFacts, *, delta: float = 0.05) -> BoundResult:
    """Bound the risk of a subnetwork of a random network that stands for this one.

    Its logits are within eps, a third of `default_tau`, of those of the network, which takes
    2 eps from a margin at most. The random network has d_0 n_F L / eps hidden units, and the
    numbers of its sketches 32 bits, which are exact.
    """
    ticket = ticket_of(facts)
    moved = facts.margins - 2 * ticket.approximation
    found = ticket.bound(moved, delta=delta, target=facts.layers)
    width = widest(ticket, facts.n)
    most = f"at most {width:,} wide" if width else "narrower than one unit"
    remark = f" At {facts.n:,} examples the target would have to be {most}, not {ticket.hidden:,}."
    return replace(found, assumptions=(*found.assumptions, *facts.form()), remark=remark)


def widest(ticket: WinningTicket, n: int) -> int:
    """Most hidden units n_F of a target at which theorem 6.2's price is below 1 at n examples.

    The random network is as wide as d_0 n_F L / eps asks; 0 if one unit is too many.
    """

    def fits(hidden: int) -> bool:
        wide = max(2, math.ceil(ticket.inputs * hidden * ticket.depth / ticket.approximation))
        weights = hidden * ticket.inputs + ticket.depth * hidden**2
        nats = weights * math.log(wide) ** 2 * -math.log(ticket.step)
        return ticket.constant**2 * nats < n

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
