"""How far outputs move if every layer moves a little in spectral norm.

Lemma B.2 (Neyshabur et al. 2017) and its descendants in Guha, Dubey and Huo (2023): 4.3 for
pruning, 4.4 for rounding too, and C.1 to C.4, in which layers that narrow contract typical
inputs by a factor kappa_l < 1.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term
from prunable.certify.bounds.checks import check_finite, check_layers, check_n, check_positive
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.logs import log_product
from prunable.certify.bounds.pruning_moments import SOURCE
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.errors import require

Variant = Literal["paper", "authors-code"]


def spectral_perturbation(
    input_norm: float,
    spectral: Sequence[float],
    changes: Sequence[float],
    *,
    contractions: Sequence[float] | None = None,
) -> BoundResult:
    """Bound the change of the outputs: lemma B.2, with contractions lemma C.2.

    e ||x^0|| (prod kappa_l ||A^l||_2) sum ||U^l||_2 / ||A^l||_2 for ReLU. Without contractions it
    cannot fail. The changes are ||U^l||_2, or bounds of it, the contractions kappa_l of lemma C.1,
    in (0, 1].
    """
    where = "spectral_perturbation"
    check_finite(input_norm, "input_norm", where)
    factors = list(contractions) if contractions is not None else [1.0] * len(spectral)
    check_layers(where, changes=changes, spectral=spectral, contractions=factors)
    shrinks = all(0 < k <= 1 for k in factors)
    require(shrinks, "contractions", where, "in (0, 1], one a layer", factors)
    for a, u in zip(spectral, changes, strict=True):
        check_finite(a, "spectral", where)
        check_finite(u, "changes", where)
    relative = [
        Term(f"||U_{i}||/||A_{i}||", f"layer {i}", _log_ratio(u, a))
        for i, (u, a) in enumerate(zip(changes, spectral, strict=True), 1)
    ]
    narrow = math.fsum(math.log(k) for k in factors)
    worst = max(range(len(relative)), key=lambda i: relative[i].log_value)
    small = at_most(
        "||U_l|| <= ||A_l||/L",
        relative[worst].log_value,
        -math.log(len(spectral)),
        f"relative change of layer {worst + 1}",
    )
    contracted = Assumption("layers that narrow contract", "unchecked", "see lemma C.1")
    return BoundResult(
        "perturbation by spectral norms",
        (
            Term("e", "limit of (1 + 1/L)^L", 1.0, "lemma B.2"),
            Term.of("||x||", input_norm, "norm of the input"),
            Term("prod||A_l||_2", "product of spectral norms", log_product(spectral)),
            Term("prod L kappa_l", "Lipschitz constants and contractions", narrow),
            Term.made(
                "sum||U_l||/||A_l||", SUM, "relative changes", *relative, equation="lemma B.2"
            ),
        ),
        PRODUCT,
        (small, contracted) if contractions is not None and min(factors) < 1 else (small,),
        f"{SOURCE}, lemma {'B.2' if contractions is None else 'C.2'}",
        quantity="perturbation",
    )


def contraction(
    inputs: int,
    outputs: int,
    n: int,
    *,
    failure: float = 0.01,
    a: float = 1.0,
    m: float = 1.0,
    variant: Variant = "paper",
) -> float:
    """Contraction kappa_l = min(1, t sqrt(outputs)) of a layer that narrows: lemma C.1.

    It is 1 for layers that do not narrow. With probability `failure` some example is not
    contracted. In condition C.1, P(|<v, x>| >= t ||x||) <= a exp(-m d t^2). "paper" takes the union
    over all outputs and examples, the released code over examples alone with a = m = 1.
    """
    where = "contraction"
    check_n(n, where)
    require(min(inputs, outputs) >= 1, "inputs, outputs", where, ">= 1", (inputs, outputs))
    require(0 < failure < 1, "failure", where, "inside (0, 1)", failure)
    if outputs >= inputs:
        return 1.0
    if variant == "authors-code":
        t = math.sqrt(math.log(n / failure) / inputs)
    else:
        check_positive(a, "a", where)
        check_positive(m, "m", where)
        t = math.sqrt(max(math.log(a * outputs * n / failure), 0.0) / (m * inputs))
    return min(1.0, t * math.sqrt(outputs))


def contractions_of(
    facts: NetworkFacts, *, failure: float = 0.01, variant: Variant = "paper"
) -> list[float]:
    """Contractions of the layers of a network; see `contraction`."""
    return [
        contraction(layer.inputs, layer.outputs, facts.n, failure=failure, variant=variant)
        for layer in facts.layers
    ]


def pruning_perturbation(
    input_norm: float,
    spectral: Sequence[float],
    errors: Sequence[float],
    *,
    markov: Sequence[float],
    counts: Sequence[int] | None = None,
    steps: Sequence[float] | None = None,
    contractions: Sequence[float] | None = None,
    contraction_failure: float = 0.0,
    tight: bool = False,
) -> BoundResult:
    """Bound what randomized pruning does to the outputs: lemma 4.3, with contractions C.3.

    The errors are Gamma_l of `layer_error`, times epsilon_l >= 1. With rounding of the J_l weights
    that pruning left (`counts`) to multiples of rho_l (`steps`) it is lemma 4.4, or C.4: a layer's
    rounding costs rho_l J_l, or its Frobenius norm rho_l sqrt(J_l) / 2 if `tight`. Its `delta` is
    the sum of 1 / epsilon_l, and `contraction_failure`, with which a contraction fails in a layer.
    """
    alike = len(markov) == len(errors) and all(e >= 1 for e in markov)
    require(alike, "markov", "pruning_perturbation", ">= 1, one a layer", list(markov))
    nothing = [0] * len(errors)
    rounding = zip(steps or nothing, counts or nothing, strict=True)
    changes = [
        e * g + rounding_error(step, count, tight=tight)
        for e, g, (step, count) in zip(markov, errors, rounding, strict=True)
    ]
    rounded = any(steps or nothing)
    lemma = f"lemma {'C.' if contractions is not None else '4.'}{4 if rounded else 3}"
    moved = spectral_perturbation(input_norm, spectral, changes, contractions=contractions)
    return replace(
        moved,
        name="perturbation by pruning and rounding" if rounded else "perturbation by pruning",
        assumptions=(*moved.assumptions, rebuilt(lemma)),
        source=f"{SOURCE}, {lemma}",
        delta=math.fsum(1 / e for e in markov) + contraction_failure,
    )


def rounding_error(step: float, count: int, *, tight: bool = False) -> float:
    """Bound on the spectral norm of rounding `count` entries to multiples of `step`: lemma 4.4."""
    valid = 0 <= step < math.inf and count >= 0
    require(valid, "step, count", "rounding_error", ">= 0", (step, count))
    return step / 2 * math.sqrt(count) if tight else step * count


def largest_step(spectral: float, error: float, count: int, layers: int) -> float:
    """Largest rho_l that lemma 4.4 allows, (||A_l||_2 / L - eps_l Gamma_l) / J_l.

    It is negative or zero if pruning alone, the `error` eps_l Gamma_l, is already too much.
    """
    return (spectral / layers - error) / max(count, 1)


def _log_ratio(change: float, norm: float) -> float:
    if change == 0:
        return -math.inf
    return math.log(change / norm) if norm > 0 else math.inf
