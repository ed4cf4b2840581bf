"""What to prune: budgets that are asked for, and the frozen plan that answers."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, check_at_least, check_between, check_one_of, require
from prunable.files import damage_named, parse_json
from prunable.nets.prune.choices import Axis, Cost, Outputs, Scope, Sharing
from prunable.nets.prune.grouped import GroupPlan, group_from_json, group_to_json
from prunable.numerics.checks import check_order
from prunable.results import Result


@dataclass(frozen=True)
class Keep:
    """Keep a share kappa of the candidates: of each layer, or of all layers with one threshold.

    >>> Keep(0.2)
    Keep(kappa=0.2, scope='layer')
    >>> Keep(0.2, scope="global").scope
    'global'
    """

    kappa: float
    scope: Scope = "layer"

    def __post_init__(self) -> None:
        check_between(self.kappa, 0, 1, "kappa", "Keep")
        check_one_of(self.scope, get_args(Scope), "scope", "Keep")


@dataclass(frozen=True)
class Error:
    """Keep as little of each layer as a relative error eps = ||w_hat - w||_p / ||w||_p allows.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[3.0, 0.1], [0.2, 4.0]])
    >>> prunable.prune(net, prunable.strategies.MagnitudePruning(), Error(0.1)).plan.kappa
    0.5
    """

    eps: float
    p: float = 2.0

    def __post_init__(self) -> None:
        check_between(self.eps, 0, 1, "eps", "Error")
        check_order(self.p, "Error")


@dataclass(frozen=True)
class Energy:
    """Keep as little of each layer as retains a share ||w_hat||_2^2 / ||w||_2^2.

    The squared criterion with tolerance 0.1 is `Energy(0.9)`.

    >>> round(Energy(0.99).eps, 12), Energy(0.99).p
    (0.1, 2.0)
    """

    share: float

    def __post_init__(self) -> None:
        check_between(self.share, 0, 1, "share", "Energy")

    @property
    def eps(self) -> float:
        """The relative l_2 error sqrt(1 - share) that leaves the share."""
        # 1 - 0.9 < 0.1 in floating point; rounding restores the decimal that was meant
        return math.sqrt(round(1 - self.share, 15))

    @property
    def p(self) -> float:
        """Order of the norm, 2."""
        return 2.0


@dataclass(frozen=True)
class Target:
    """Keep as many units as leave a share of what the network costs.

    The cost is its number of parameters, the multiply-adds of the example, or the milliseconds
    of a batch, measured on the network cut smaller. The same share of units is kept of each group
    that can go; with global scope the best of all groups; with scope "sensitivity" the shares are
    those at which the outputs for unlabelled inputs, which `prune` is given, should change least.
    `outputs` then says what they are. Scores or probabilities of classes, (n, classes) or what a
    model calls its logits, are compared as distributions; values, as of a regression, by squared
    errors relative to the variance of each. A network does not tell which its outputs are.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    >>> half = Target("parameters", 0.5)
    >>> units = prunable.strategies.UnitPruning()
    >>> cut = prunable.prune(net, units, half, example=torch.zeros(1, 8))
    >>> [group.n_kept for group in cut.plan.groups]
    [31]
    """

    cost: Cost
    share: float
    batch_size: int = 1  # of what is timed
    scope: Sharing = "layer"
    outputs: Outputs = "logits"

    def __post_init__(self) -> None:
        check_one_of(self.cost, get_args(Cost), "cost", "Target")
        check_one_of(self.outputs, get_args(Outputs), "outputs", "Target")
        used = self.scope == "sensitivity" or self.outputs == "logits"
        require(used, "outputs", "Target", "left out, unless scope is sensitivity", self.outputs)
        check_between(self.share, 0, 1, "share", "Target")
        check_at_least(self.batch_size, 1, "batch_size", "Target")
        check_one_of(self.scope, get_args(Sharing), "scope", "Target")
        timed = self.cost == "ms" or self.batch_size == 1
        require(timed, "batch_size", "Target", "1, unless milliseconds are", self.batch_size)


Budget = Keep | Error | Energy | Target


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """What is kept of one layer, and the realised relative l_p error, `eps`."""

    name: str
    shape: tuple[int, int]  # (out, in * taps), that of the layer's `WeightView`
    axis: Axis
    # (n_total,) array of bool: which of them are kept, in C order, singular values from the
    # largest; read-only
    kept: NDArray[np.bool_] = field(repr=False)
    eps: float
    p: float = 2.0
    # share the budget asked of this layer; None if it asked for something else
    kappa_asked: float | None = None
    taps: int = 1  # entries of a convolution's kernel; 1 for other layers
    # array of shape (out or 1, inputs or 1, taps or 1): what pruned weights are set to; None is 0.
    # Singular values are those of the weights less this
    fill: NDArray[np.float64] | None = None
    # the parameter is stored (in, out / groups, ...); see `prunable.nets.networks.views.out_in`
    transposed: bool = False
    groups: int = 1  # of what is transposed
    # parameters of one number a unit, biases and rows of normalisations: 0 where a unit is pruned
    followers: tuple[str, ...] = ()
    # (out, in * taps) array: what the weights become that make up for pruned ones, 0 where those
    # were; None if they stay what they are. Read-only
    values: NDArray[np.floating[Any]] | None = field(default=None, repr=False)
    # name of the layer's bias and its (out,) values that make up for what the outputs lose in the
    # mean; None if it stays
    bias: tuple[str, NDArray[np.float64]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_one_of(self.axis, get_args(Axis), "axis", "LayerPlan")
        self._check_layout()
        # what nobody can write need not be copied
        kept = np.array(self.kept, copy=np.asarray(self.kept).flags.writeable or None)
        expected = (candidates(self.shape, self.taps, self.axis),)
        fits = kept.dtype == np.bool_ and kept.shape == expected
        where, wanted = f"LayerPlan {self.name}", f"a bool array of shape {expected}"
        require(fits, "kept", where, wanted, f"{kept.dtype} of shape {kept.shape}")
        alone = not self.followers or (self.axis == "unit" and self.fill is None)
        require(alone, "followers", where, "none, unless units are set to 0", self.followers)
        kept.flags.writeable = False
        object.__setattr__(self, "kept", kept)
        if self.values is not None:
            plain = self.fill is None and self.axis != "singular_value"
            require(plain, "values", where, "left out with a fill, or of singular values", "both")
            values = self.values.view()
            shape, wanted = tuple(self.shape), f"an array of shape {self.shape}"
            require(values.shape == shape, "values", where, wanted, values.shape)
            values.flags.writeable = False
            object.__setattr__(self, "values", values)

        if self.bias is not None:
            shape, wanted = (self.shape[0],), f"an array of shape ({self.shape[0]},)"
            require(self.bias[1].shape == shape, "bias", where, wanted, self.bias[1].shape)

    def _check_layout(self) -> None:
        """Raise InputError unless kernels and fills are of a size that the shape has."""
        where, (out, width) = f"LayerPlan {self.name}", self.shape
        whole = isinstance(self.taps, int | np.integer) and self.taps > 0
        fits = whole and width % self.taps == 0
        require(fits, "taps", where, f"a divisor of {width}", self.taps)
        fits = isinstance(self.groups, int | np.integer) and self.groups > 0
        require(fits, "groups", where, "a positive integer", self.groups)
        if self.fill is not None:
            sizes = (out, width // self.taps, self.taps)
            found = self.fill.shape
            fits = len(found) == 3 and all(n in (1, m) for n, m in zip(found, sizes, strict=True))
            require(fits, "fill", where, f"an array that expands to {sizes}", found)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all that the plan changes."""
        return (self.name, *self.followers, *(() if self.bias is None else self.bias[:1]))

    @property
    def matrix_mask(self) -> NDArray[np.bool_]:
        """Which entries of the matrix (out, in * taps) are kept; not of singular values."""
        out, width = self.shape
        inputs = width // self.taps
        sizes = {
            "weight": (out, inputs, self.taps),
            "unit": (out, 1, 1),
            "input": (1, inputs, 1),
            "kernel": (out, inputs, 1),
        }[self.axis]
        kept = self.kept.reshape(sizes)
        return np.broadcast_to(kept, (out, inputs, self.taps)).reshape(self.shape)

    @property
    def n_total(self) -> int:
        """Number of candidates: weights, units, input nodes, kernels or singular values."""
        return self.kept.size

    @cached_property
    def n_kept(self) -> int:
        """Number of kept ones."""
        return int(np.count_nonzero(self.kept))

    @property
    def kappa(self) -> float:
        """Realised kept share."""
        return self.n_kept / self.n_total

    @property
    def n_parameters(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def n_parameters_kept(self) -> int:
        """Number of weights in kept candidates; of kept singular triples the numbers.

        A triple is a row, a column and its singular value, as the text of Barsbey et al. (2021)
        counts; their code leaves the value out. It may be more than the weights were.
        """
        if self.axis == "singular_value":
            return self.n_kept * (sum(self.shape) + 1)
        return self.n_kept * (self.n_parameters // self.n_total)

    def to_dict(self) -> dict[str, Any]:
        """Counts, shares and errors, without the mask."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "axis": self.axis,
            "n_total": self.n_total,
            "n_kept": self.n_kept,
            "kappa_asked": self.kappa_asked,
            "kappa": self.kappa,
            "eps": self.eps,
            "p": self.p,
        }


@dataclass(frozen=True, eq=False)
class PruningPlan(Result):
    """What is kept of the planned layers of a network, named differently; others do not count."""

    method: str
    budget: Budget
    layers: tuple[LayerPlan, ...] = field(repr=False)
    # coupled units; `layers` then say what they are of the matrices that make them
    groups: tuple[GroupPlan, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        distinct, wanted = len(set(names)) == len(names), "one or more layers of different names"
        require(names and distinct, "layers", "PruningPlan", wanted, names)

    @property
    def n_parameters(self) -> int:
        """Number of weights of the planned layers."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def n_parameters_kept(self) -> int:
        """Number of weights that stay."""
        return sum(layer.n_parameters_kept for layer in self.layers)

    @property
    def kappa(self) -> float:
        """Kept share of the planned layers' weights."""
        return self.n_parameters_kept / self.n_parameters

    def to_dict(self) -> dict[str, Any]:
        """Summarise as plain JSON values: counts, shares and errors, without the masks."""
        return {
            "method": self.method,
            "budget": {"kind": type(self.budget).__name__.lower(), **asdict(self.budget)},
            "kappa": self.kappa,
            "n_parameters": self.n_parameters,
            "n_parameters_kept": self.n_parameters_kept,
            "layers": self._rows(),
            "groups": [group.to_dict() for group in self.groups],
        }

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [layer.to_dict() for layer in self.layers]


def plan_to_json(plan: PruningPlan) -> str:
    """Write a whole plan as JSON text: `PruningPlan.to_dict`, the masks, and how layers are stored.

    Each layer's `kept` is base64 of its bits, the first in the highest bit; `values`, if there are
    any, of little-endian float64.
    """
    document = plan.to_dict()
    for entry, layer in zip(document["layers"], plan.layers, strict=True):
        bits = np.packbits(layer.kept).tobytes()
        entry["kept"] = base64.b64encode(bits).decode("ascii")
        entry["taps"] = layer.taps
        entry["fill"] = None if layer.fill is None else layer.fill.tolist()
        entry["transposed"], entry["groups"] = layer.transposed, layer.groups
        entry["followers"] = list(layer.followers)
        if layer.values is not None:
            numbers = layer.values.astype("<f8").tobytes()
            entry["values"] = base64.b64encode(numbers).decode("ascii")
        if layer.bias is not None:
            entry["bias"] = [layer.bias[0], layer.bias[1].tolist()]
    document["groups"] = [group_to_json(group) for group in plan.groups]
    return json.dumps(document)


def plan_from_json(text: str) -> PruningPlan:
    """Read what `plan_to_json` wrote, equal in every mask and number; else DataIntegrityError."""
    budgets = {"keep": Keep, "error": Error, "energy": Energy, "target": Target}
    with damage_named("The pruning plan", "write the plan again", DataIntegrityError):
        document = parse_json(text, finite=False)
        fields = dict(document["budget"])
        budget = budgets[fields.pop("kind")](**fields)
        layers = tuple(_layer_from(entry) for entry in document["layers"])
        groups = tuple(group_from_json(entry) for entry in document.get("groups", ()))
        return PruningPlan(document["method"], budget, layers, groups)


def _layer_from(entry: dict[str, Any]) -> LayerPlan:
    shape = (int(entry["shape"][0]), int(entry["shape"][1]))
    count = candidates(shape, entry["taps"], entry["axis"])
    bits = np.frombuffer(base64.b64decode(entry["kept"], validate=True), dtype=np.uint8)
    if bits.size != -(-count // 8):
        raise ValueError(f"{bits.size} bytes for {count} candidates of {entry['name']}")
    return LayerPlan(
        entry["name"],
        shape,
        entry["axis"],
        np.unpackbits(bits, count=count).astype(np.bool_),
        eps=entry["eps"],
        p=entry["p"],
        kappa_asked=entry["kappa_asked"],
        taps=entry["taps"],
        fill=None if entry["fill"] is None else np.array(entry["fill"], dtype=np.float64),
        transposed=entry.get("transposed", False),
        groups=entry.get("groups", 1),
        followers=tuple(entry.get("followers", ())),
        values=_values_from(entry.get("values"), shape),
        bias=_bias_from(entry.get("bias")),
    )


def _values_from(text: str | None, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").reshape(shape)


def _bias_from(entry: list[Any] | None) -> tuple[str, NDArray[np.float64]] | None:
    return None if entry is None else (str(entry[0]), np.array(entry[1], dtype=np.float64))


def candidates(shape: tuple[int, int], taps: int, axis: Axis) -> int:
    """Number of things that can be pruned of a matrix (out, in * taps) along an axis."""
    out, width = shape
    inputs = width // taps
    return {
        "weight": out * width,
        "unit": out,
        "input": inputs,
        "kernel": out * inputs,
        "singular_value": min(out, width),
    }[axis]
