"""Strategies that know what flows into the layers, from a few unlabelled inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_at_least, check_one_of, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis, Compared
from prunable.nets.prune.plan import Budget, Energy, Error, Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies.base import Strategy, check_views, layer_of, plan_of, select
from prunable.nets.prune.strategies.n_m import of_pattern, pattern_masks
from prunable.nets.prune.strategies.sharing import Division, check_division, shared_counts
from prunable.numerics.arrays import Lazy
from prunable.numerics.reconstruction.gram import output_error
from prunable.numerics.reconstruction.refit import Products, best_strength, refit, refitted
from prunable.numerics.reconstruction.surgery import Pattern, exact_surgery, surgery
from prunable.numerics.weights.compressibility import relative_error
from prunable.numerics.weights.selection import Rounding, kept_count, top_k_mask

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class InputWeightedPruning:
    """Keep the weights of largest magnitude times the root mean square of their inputs.

    For a row by itself this is Hessian pruning of Chang, Li, Oymak and Thrampoulidis (2020,
    section 3), known as Wanda (Sun, Liu, Bair and Kolter 2023). Errors, asked and realised, are
    relative to the weights times those roots: they are errors of outputs where inputs are
    uncorrelated. Layers that no input reached go by their weights alone.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 2.0]])
    >>> inputs = torch.randn(100, 2) * torch.tensor([10.0, 1.0])
    >>> pruned = prunable.prune(net, InputWeightedPruning(), Keep(0.5), calibration=inputs)
    >>> net.weight.tolist()
    [[1.0, 0.0]]
    """

    axis: ClassVar[Axis] = "weight"

    # what weights compete with: those of their layer, or of their output, so that each output
    # keeps the same share
    compare: Compared = "layer"
    # how a share of all layers together is divided: by one threshold on the scores, or as
    # `MagnitudePruning` divides it
    allocation: Division = "threshold"
    n_m: tuple[int, int] | None = None  # keep n of each m consecutive inputs; see `NMPruning`

    def __post_init__(self) -> None:
        where = "InputWeightedPruning"
        check_one_of(self.compare, get_args(Compared), "compare", where)
        check_division(self.allocation, where)

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep; see `Strategy.plan`. The choice is not random.

        Views hold Gram matrices of their inputs: `prune` gives them for its `calibration`. Raises
        InputError if none does, or the budget does not suit.
        """
        del rng
        where = "InputWeightedPruning"
        check_inputs(views, where)
        scores = [view.weighted for view in views]
        if self.n_m is not None:
            masks = pattern_masks(views, scores, budget, self.n_m, f"{where}.plan")
        elif isinstance(budget, Keep):
            counts = kept_counts_of(views, scores, budget, self.allocation)
            choose = _of_rows if self.compare == "row" else top_k_mask
            masks = [choose(np.abs(s), n).ravel() for s, n in zip(scores, counts, strict=True)]
        else:
            flat = [score.ravel() for score in scores]
            masks = select(flat, budget, p=2.0, rounding="ceil", where=where)
        norms = [score.ravel() for score in scores]
        plan = plan_of(
            _named("input-weighted", self.n_m), views, budget, "weight", masks, norms, 2.0
        )
        return plan if self.n_m is None else of_pattern(plan, views, self.n_m[1])


@dataclass(frozen=True)
class BrainSurgery:
    """Prune each layer so that its outputs change least, the kept weights making up for the rest.

    Columns of the matrix are pruned in blocks (`surgery`: optimal brain surgery as SparseGPT does
    it), or weight by weight, exactly, which suits small layers. Errors, asked and realised, are
    those of the layer's outputs on the calibration inputs. Layers that no input reached lose their
    smallest weights.

    Hassibi and Stork (1993); Frantar and Alistarh (2022, 2023).

    >>> import torch, prunable
    >>> net, inputs = torch.nn.Linear(20, 5), torch.randn(200, 20)
    >>> pruned = prunable.prune(net, BrainSurgery(), Keep(0.5), calibration=inputs)
    >>> int((net.weight == 0).sum())
    50
    """

    axis: ClassVar[Axis] = "weight"

    # share of each input's own square that is added to it, >= 0; None: what does best in each layer
    # on the inputs that calibration holds out
    damping: float | None = None
    # how a share of all layers together is divided: by one threshold on input-weighted magnitudes,
    # or as `MagnitudePruning` divides it
    allocation: Division = "threshold"
    n_m: tuple[int, int] | None = None  # keep n of each m consecutive inputs; see `NMPruning`
    exact: bool = False

    def __post_init__(self) -> None:
        where = "BrainSurgery"
        check_at_least(self.damping or 0.0, 0, "damping", where)
        check_division(self.allocation, where)
        require(
            not (self.exact and self.n_m), "n_m", where, "left out where surgery is exact", self.n_m
        )

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the weights to keep, and what they become; see `Strategy.plan`.

        Views hold Gram matrices of their inputs: `prune` gives them for its `calibration`. Raises
        InputError if none does, the budget does not suit, or the inputs are too few for the
        damping. The choice is not random.
        """
        del rng
        named = ("BrainSurgery", "brain surgery")
        return reconstructed(*named, views, budget, self.allocation, self.n_m, self._layer)

    def _layer(self, view: WeightView, keep: int | Pattern, by_weights: Mask | None) -> LayerPlan:
        gram, matrix = view.gram, view.matrix
        if gram is None or keep == matrix.size:
            return by_magnitude(view, keep, by_weights)
        operate: Any = exact_surgery if self.exact else surgery

        def found(products: Products, damping: float) -> Scores:
            values: Scores = operate(matrix, products, keep, damping=damping, where=view.name)[1]
            return values

        damping = best_strength(matrix, gram, found) if self.damping is None else self.damping
        mask, values = operate(matrix, gram.inputs, keep, damping=damping, where=view.name)
        eps = output_error(matrix, values, gram.products)
        return replace(layer_of(view, mask.ravel(), eps), values=values)


@dataclass(frozen=True)
class Refitted:
    """Any strategy, and then the least-squares weights on the inputs that it keeps.

    Each output of a layer is fitted to what it was, on the calibration inputs (`refit`). What is
    kept, and errors, are the strategy's own. Singular values cannot be refitted, nor layers that
    no input reached, which stay as the strategy leaves them.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 2.0]])
    >>> inputs = torch.randn(100, 1).repeat(1, 2)
    >>> strategy = Refitted(prunable.strategies.MagnitudePruning())
    >>> pruned = prunable.prune(net, strategy, Keep(0.5), calibration=inputs)
    >>> [round(w, 2) for w in net.weight.flatten().tolist()], strategy.axis
    ([0.0, 3.0], 'weight')
    """

    strategy: Strategy
    # share of each input's own square by which a change of its weight is held back, >= 0; None:
    # what does best in each layer on the inputs that calibration holds out
    ridge: float | None = None

    def __post_init__(self) -> None:
        check_at_least(self.ridge or 0.0, 0, "ridge", "Refitted")
        axis = self.strategy.axis
        require(axis != "singular_value", "strategy", "Refitted", "one that keeps weights", axis)

    @property
    def axis(self) -> Axis:
        """What is pruned."""
        return self.strategy.axis

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose what to keep, and what it becomes; see `Strategy.plan`.

        Views hold Gram matrices of their inputs: `prune` gives them for its `calibration`. Raises
        InputError if none does, or the inputs are too few for the ridge.
        """
        check_inputs(views, "Refitted")
        plan = self.strategy.plan(views, budget, rng=rng)
        layers = (self._refitted(x, view) for x, view in zip(plan.layers, views, strict=True))
        return PruningPlan(f"refitted {plan.method}", plan.budget, tuple(layers))

    def _refitted(self, layer: LayerPlan, view: WeightView) -> LayerPlan:
        gram, kept = view.gram, layer.matrix_mask
        if gram is None or kept.all():
            return layer

        if self.ridge is None:
            return replace(layer, values=refitted(view.matrix, kept, gram, where=view.name))
        values = refit(view.matrix, kept, gram.inputs, ridge=self.ridge, where=view.name)
        return replace(layer, values=values)


def reconstructed(
    where: str,
    method: str,
    views: Sequence[WeightView],
    budget: Budget,
    allocation: Division,
    n_m: tuple[int, int] | None,
    layer: Callable[[WeightView, int | Pattern, Mask | None], LayerPlan],
) -> PruningPlan:
    """The plan of a strategy that prunes a layer to so many weights, or to a pattern, at once.

    `layer` does so; it is told also which weights a pattern keeps by their scores. `where` names
    the strategy in messages.
    """
    check_inputs(views, where)
    scores = [view.weighted for view in views]
    if n_m is not None:
        masks = pattern_masks(views, scores, budget, n_m, f"{where}.plan")
        layers = [
            layer(v, v.matrix.size if mask.all() else (*n_m, v.taps), mask)
            for v, mask in zip(views, masks, strict=True)
        ]
    elif isinstance(budget, Keep):
        counts = kept_counts_of(views, scores, budget, allocation)
        layers = [layer(v, n, None) for v, n in zip(views, counts, strict=True)]
    elif isinstance(budget, Error | Energy):
        require(budget.p == 2, "p", where, "the budget's order, 2", budget.p)
        layers = [_within(v, budget.eps, layer) for v in views]
    else:
        wanted = "Keep, Error or Energy"
        raise InputError.parameter("budget", f"{where}.plan", wanted, budget)
    asked = budget.kappa if isinstance(budget, Keep) and budget.scope == "layer" else None
    layers = [replace(one, kappa_asked=asked) for one in layers]
    plan = PruningPlan(_named(method, n_m), budget, tuple(layers))
    return plan if n_m is None else of_pattern(plan, views, n_m[1])


def _within(
    view: WeightView,
    eps: float,
    layer: Callable[[WeightView, int | Pattern, Mask | None], LayerPlan],
) -> LayerPlan:
    """The fewest weights with an error of at most eps, by halving their number."""
    low, high = 0, view.matrix.size
    found = layer(view, low, None)
    if found.eps <= eps:
        return found
    found = layer(view, high, None)
    while high - low > 1:
        middle = (low + high) // 2
        tried = layer(view, middle, None)
        low, high = (low, middle) if tried.eps <= eps else (middle, high)
        found = tried if tried.eps <= eps else found
    return found


def by_magnitude(view: WeightView, keep: int | Pattern, by_weights: Mask | None) -> LayerPlan:
    """The plan of a layer that keeps its largest weights, or those given, as they are."""
    mask = by_weights
    if isinstance(keep, int):
        mask = top_k_mask(np.abs(view.matrix), keep).ravel()
    assert mask is not None
    return layer_of(view, mask, relative_error(view.matrix.ravel(), mask, 2.0))


def check_inputs(views: Sequence[WeightView], where: str) -> None:
    """Raise InputError unless there is a view, and one of which inputs are known."""
    check_views(views, where)
    if all(view.gram is None and view.rms is None for view in views):
        raise InputError(
            f"`views` of `{where}.plan` say nothing of what flows into the layers. Give "
            "`calibration` to `prune`: unlabelled inputs that reach one of them."
        )


def counts_of(
    strategy: Strategy, views: Sequence[WeightView], budget: Keep, *, rng: np.random.Generator
) -> list[int]:
    """How many candidates of each layer a strategy keeps, without what the others become.

    Of inputs it needs `rms` alone; of strategies that divide by a rule one view at a time.
    """
    while isinstance(strategy, Refitted):
        strategy = strategy.strategy
    if not divides(strategy):
        return [layer.n_kept for layer in strategy.plan(views, budget, rng=rng).layers]
    # what reconstructs shares by the scores of `InputWeightedPruning`: no need to reconstruct yet
    plain = not hasattr(strategy, "n_m")
    scores: Sequence[Any] = Lazy(
        len(views), lambda i: views[i].matrix if plain else views[i].weighted
    )
    rounding: Rounding = getattr(strategy, "rounding", "ceil")
    return kept_counts_of(views, scores, budget, cast(Any, strategy).allocation, rounding)


def divides(strategy: Strategy) -> bool:
    """Whether a strategy divides a share of all layers by a rule, a view at a time."""
    if isinstance(strategy, Refitted):
        return divides(strategy.strategy)
    return hasattr(strategy, "allocation") and getattr(strategy, "n_m", None) is None


def kept_counts_of(
    views: Sequence[WeightView],
    scores: Sequence[Scores],
    budget: Keep,
    allocation: Division,
    rounding: Rounding = "ceil",
) -> list[int]:
    """How many weights each layer keeps."""
    if budget.scope == "layer":
        return [kept_count(budget.kappa, score.size, rounding) for score in scores]
    count = kept_count(budget.kappa, sum(score.size for score in scores), rounding)
    return shared_counts(views, scores, count, allocation)


def _named(method: str, n_m: tuple[int, int] | None) -> str:
    return method if n_m is None else f"{method} {n_m[0]}:{n_m[1]}"


def _of_rows(scores: Scores, count: int) -> NDArray[np.bool_]:
    """Mark the largest of each row, equally many but for one, which the best of the next get."""
    rows, width = scores.shape
    each, more = divmod(count, rows)
    kept = np.stack([top_k_mask(row, each) for row in scores])
    if more:
        left = np.where(kept, -1.0, scores)
        best = left.argmax(axis=1)
        rows_of = top_k_mask(left[np.arange(rows), best], more)
        kept[rows_of, best[rows_of]] = True
    return kept.reshape(rows, width)
