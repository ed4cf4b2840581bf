"""Cut what a plan prunes out of a model: a smaller module that computes the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.masks import apply_plan_
from prunable.nets.plan import PruningPlan

TOLERANCE = 1e-4
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS: dict[type[nn.Module], tuple[int, ...]] = {nn.BatchNorm1d: (2, 3), nn.BatchNorm2d: (4,)}
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.ELU, nn.SELU,
    nn.CELU, nn.Mish, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
    nn.LogSigmoid,
)  # fmt: skip
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout)
POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
# Functions and methods, by name; a trailing underscore is the form in place.
ELEMENTWISE = {
    "relu", "relu6", "leaky_relu", "gelu", "tanh", "sigmoid", "silu", "elu", "selu", "celu",
    "mish", "softplus", "softsign", "hardtanh", "hardswish", "hardsigmoid", "logsigmoid", "neg",
    "add", "sub", "mul", "div", "truediv", "iadd", "isub", "imul", "itruediv",
}  # fmt: skip
PAIRWISE = {"add", "sub", "mul", "iadd", "isub", "imul"}
POOL_FUNCTIONS = {
    f"{kind}_pool{d}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2)
}
RESHAPES = {"view", "reshape"}
# Safe for what derives from the model's input alone, whose size never changes.
OF_INPUT = {"permute", "transpose", "unsqueeze", "squeeze", *RESHAPES}


@dataclass(frozen=True, eq=False)
class ShrinkResult:
    """A smaller model and the check that it computes the same.

    Attributes
    ----------
    model : torch.nn.Module
        The smaller copy, of the same classes; in the training mode of the given model.
    max_difference : float
        Largest |shrunk(example) - masked(example)|, in evaluation mode and float64.
    n_parameters_before, n_parameters : int
        Numbers in the given model and in the smaller one, including added biases.
    kept : mapping of str to (int, int)
        Units (filters) and inputs (channels) left in each linear or convolutional layer, by the
        layer's name.
    """

    model: nn.Module
    max_difference: float
    n_parameters_before: int
    n_parameters: int
    kept: Mapping[str, tuple[int, int]]


def shrink(
    model: nn.Module, plan: PruningPlan, example: Tensor, *, round_to: int = 1
) -> ShrinkResult:
    """Turn a plan into a really smaller model that equals the masked one in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Linear layers, convolutions and what acts on their channels one by one: activations,
        batch normalisation, dropout, pooling, flattening and additions. Left untouched.
    plan : PruningPlan
        Whatever it zeroes is cut where whole units or inputs become superfluous; zeros that the
        model held before count as well.
    example : Tensor, shape (batch, ...)
        Floating-point input; its shape is followed through the model, its values only serve
        the check.
    round_to : int
        Channel counts are rounded up to a multiple, by zero units, and never beyond the
        original.

    Returns
    -------
    ShrinkResult

    Raises
    ------
    InputError
        If the plan or the example does not fit the model, or `round_to` is below 1.
    UnsupportedModelError
        If the model holds what cannot be cut safely, or the check fails.

    Notes
    -----
    A unit without incoming weights is constant: the constant is added to the next layer's
    bias. Where it is not zero and meets zero padding, which makes it differ at the borders,
    the unit stays. A unit whose outgoing weights are all zero goes with its producer. Units
    that additions tie together go together. Every layer keeps at least one unit.
    """
    if round_to < 1:
        raise InputError.parameter("round_to", "shrink", "at least 1", round_to)
    if not example.is_floating_point() or example.numel() == 0:
        raise InputError.parameter(
            "example",
            "shrink",
            "a non-empty floating-point tensor",
            f"{example.dtype} of shape {tuple(example.shape)}",
        )
    small = copy.deepcopy(model)
    apply_plan_(small.named_parameters(), plan)
    _check_ownership(small)
    # double precision: the constants are exact and the check sees only real differences
    masked = copy.deepcopy(small).cpu().double().eval()
    inputs = example.detach().cpu().double()
    with torch.no_grad():
        try:
            expected = masked(inputs.clone())
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"`example` of shape {tuple(example.shape)} does not fit the model: {error}"
            ) from error
        trace = _Trace(masked, inputs)
        # the graph is that of one path through the model's code: it must be the one taken
        _checked_difference(trace.output, expected, masked)
        needed = trace.needed()
        chosen = {group: _rounded(mask, round_to) for group, mask in needed.items()}
        kept = {
            layer.name: _cut_layer(layer, small, needed, chosen, trace.find)
            for layer in trace.layers
        }
        for name, group, block in trace.norms:
            _cut_norm(small.get_submodule(name), chosen[trace.find(group)], block)
        found = copy.deepcopy(small).cpu().double().eval()(inputs.clone())
    return ShrinkResult(
        small,
        _checked_difference(found, expected, small),
        _n_parameters(model),
        _n_parameters(small),
        kept,
    )


class _Mark(Enum):
    """Values that are no cuttable tensor."""

    WHOLE = auto()  # a tensor that keeps its shape, such as the input
    SHAPE = auto()
    NUMBER = auto()  # a size that cutting does not change


@dataclass(frozen=True, eq=False)
class _Value:
    """A tensor of the graph whose channels may go.

    `constant`, shape (n channels, features a channel), holds what each feature is for every
    input, position and example; NaN where it varies. `dim` is the axis of the channels.
    """

    group: int
    dim: int
    constant: Tensor


@dataclass(frozen=True, eq=False)
class _Layer:
    """A linear or convolutional layer between two groups of channels.

    `needs`, shape (out, in), tells which outputs vary with which inputs, `shift` what each
    constant input adds to each output; `block` is the number of features an input channel has.
    """

    name: str
    group_in: int
    group_out: int
    needs: Tensor
    shift: Tensor
    block: int


class _Trace:
    """Follow the channels of a model through its graph.

    Channels that must go or stay together form a group: a union-find over group numbers.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = model
        self.layers: list[_Layer] = []
        self.norms: list[tuple[str, int, int]] = []
        self._parents: list[int] = []
        self._sizes: list[int] = []
        self._pinned: set[int] = set()
        self._values: dict[fx.Node, _Value | _Mark] = {}
        self._aliases: dict[fx.Node, fx.Node] = {}
        self._called: set[str] = set()
        try:
            traced = fx.symbolic_trace(model)
            self.output = ShapeProp(traced).propagate(example.clone())
        except Exception as error:  # tracing runs the model's own code
            raise UnsupportedModelError(
                f"`{type(model).__name__}` cannot be shrunk: its graph cannot be followed "
                f"({error}). Leave the zeros in place."
            ) from error
        if sum(node.op == "placeholder" for node in traced.graph.nodes) != 1:
            raise UnsupportedModelError(
                f"`{type(model).__name__}` cannot be shrunk: it takes more than one input. "
                "Leave the zeros in place."
            )
        for node in traced.graph.nodes:
            self._values[node] = self._visit(node)

    # groups

    def find(self, group: int) -> int:
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def needed(self) -> dict[int, Tensor]:
        """Mark, for each group, the channels on whose varying values the output depends."""
        roots = {self.find(group) for group in range(len(self._parents))}
        pinned = {self.find(group) for group in self._pinned}
        found = {root: torch.full((self._sizes[root],), root in pinned) for root in roots}
        changed = True
        while changed:  # more than one pass only where additions close loops
            changed = False
            for layer in reversed(self.layers):
                into = self.find(layer.group_in)
                more = found[into] | layer.needs[found[self.find(layer.group_out)]].any(0)
                changed |= not torch.equal(more, found[into])
                found[into] = more
        return found

    def _new_group(self, size: int) -> int:
        self._parents.append(len(self._parents))
        self._sizes.append(size)
        return len(self._parents) - 1

    def _pin(self, value: _Value | _Mark) -> _Mark:
        if isinstance(value, _Value):
            self._pinned.add(value.group)
        return _Mark.WHOLE

    # nodes

    def _visit(self, node: fx.Node) -> _Value | _Mark:
        if node.op == "placeholder":
            return _Mark.WHOLE
        if node.op == "get_attr":
            return self._attribute(node)
        if node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                self._refuse(node, "it is not a single tensor")
            return self._pin(self._values[node.args[0]])
        if node.op == "call_module":
            return self._module(node)
        return self._operation(node)

    def _attribute(self, node: fx.Node) -> _Mark:
        owner = str(node.target).rpartition(".")[0]
        if type(self.model.get_submodule(owner)) in (*LAYERS, *NORMS):
            self._refuse(node, "it is used outside its layer")
        return _Mark.WHOLE

    def _module(self, node: fx.Node) -> _Value | _Mark:
        name = str(node.target)
        module: Any = self.model.get_submodule(name)
        kind = type(module)
        if len(node.args) != 1 or node.kwargs:
            self._refuse(node, "it takes more than one input")
        x = self._tensor(node, node.args[0])
        if name in self._called and any(True for _ in module.parameters()):
            self._refuse(node, "it is called more than once")
        self._called.add(name)
        if kind in LAYERS:
            return self._layer(node, module, x)
        if kind in NORMS:
            return self._norm(node, module, x)
        if kind in ACTIVATIONS:
            if getattr(module, "inplace", False):
                self._write(node)
            return self._mapped(x, module)
        if kind in (nn.Identity, *DROPOUTS):
            return self._alias(node, x)
        if kind in POOLS:
            return self._pool(node, x, kind.__name__.lower(), module)
        if kind is nn.Flatten:
            return self._flatten(node, x, module.start_dim, module.end_dim)
        if kind in (nn.Softmax, nn.LogSoftmax):
            return self._pin(x)
        return self._refuse(node, "this kind of layer is not supported")

    def _operation(self, node: fx.Node) -> _Value | _Mark:
        name = _function_name(node)
        if not node.args or not isinstance(node.args[0], fx.Node):
            operands = node.all_input_nodes
            if name not in ELEMENTWISE or len(operands) != 1:
                self._refuse(node, "this operation is not supported")
        base = name.removesuffix("_")
        if name in ("size", "getattr", "getitem"):
            return self._size(node, name)
        if base in ELEMENTWISE:
            return self._elementwise(node, name, base)
        x = self._tensor(node, node.args[0])
        arguments = node.args[1:]
        if x is _Mark.WHOLE and name in OF_INPUT:
            return x
        if any(isinstance(self._values[n], _Value) for n in node.all_input_nodes[1:]):
            self._refuse(node, "this operation is not supported")
        if name in POOL_FUNCTIONS:
            return self._pool(node, x, name, lambda t: _call(node, t))
        if name == "flatten":
            bounds = dict(zip(("start_dim", "end_dim"), arguments, strict=False)) | node.kwargs
            return self._flatten(node, x, bounds.get("start_dim", 0), bounds.get("end_dim", -1))
        if name in RESHAPES:
            sizes = arguments[0] if isinstance(arguments[0], tuple | list) else arguments
            first = sizes[0]
            if (
                len(sizes) != 2
                or sizes[1] != -1
                or not isinstance(first, fx.Node)
                or self._values[first] is not _Mark.NUMBER
            ):
                self._refuse(node, "it may write down the size of what is cut; use flatten(1)")
            return self._flatten(node, x, 1, -1)
        if name == "mean":
            return self._mean(node, x)
        if name == "contiguous":
            return self._alias(node, x)
        if name in ("dropout", "dropout1d", "dropout2d", "alpha_dropout"):
            settings = dict(zip(("p", "training"), arguments, strict=False)) | node.kwargs
            default = name != "alpha_dropout"
            if settings.get("training", settings.get("train", default)) is not False:
                self._refuse(node, "it is random in evaluation mode")
            return self._alias(node, x)
        if name in ("softmax", "log_softmax"):
            return self._pin(x)
        return self._refuse(node, "this operation is not supported")

    def _size(self, node: fx.Node, name: str) -> _Mark:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        value = self._values[source]
        index = node.args[1] if len(node.args) > 1 else None
        if name == "getattr" and index != "shape":
            self._refuse(node, "this operation is not supported")
        if name == "getattr" or (name == "size" and index is None and not node.kwargs):
            return _Mark.SHAPE
        if name == "getitem":
            if value is not _Mark.SHAPE:
                self._refuse(node, "this operation is not supported")
            value = self._values[source.all_input_nodes[0]]
        if value is not _Mark.WHOLE and index != 0:
            self._refuse(node, "it reads a size that cutting may change")
        return _Mark.NUMBER

    # what the operations do to channels

    def _layer(self, node: fx.Node, module: Any, x: _Value | _Mark) -> _Value:
        rank = len(self._shape(node))
        dim = rank - 1
        weight = module.weight
        if type(module) is not nn.Linear:
            dim = 1
            if module.groups != 1:
                self._refuse(node, f"it has {module.groups} groups")
            if rank != weight.ndim:
                self._refuse(node, "its input has no batch dimension")
        if isinstance(x, _Value):
            if x.dim != dim:
                self._refuse(node, "it acts along another dimension than the layer before")
            group, constant = x.group, x.constant
        else:
            group = self._new_group(weight.shape[1])
            self._pinned.add(group)
            constant = weight.new_full((weight.shape[1], 1), math.nan)
        matrix = weight.reshape(len(weight), len(constant), -1)
        known = constant.isfinite().all(1)
        if _pads_with_zeros(module):
            known &= (constant == 0).all(1)
        shift = (matrix * constant.where(known[:, None], 0.0)).sum(-1)
        needs = (matrix != 0).any(-1) & ~known
        bias = 0.0 if module.bias is None else module.bias
        outputs = (shift.sum(1) + bias).masked_fill(needs.any(1), math.nan)
        made = _Value(self._new_group(len(weight)), dim, outputs[:, None])
        self.layers.append(
            _Layer(str(node.target), group, made.group, needs, shift, constant.shape[1])
        )
        return made

    def _norm(self, node: fx.Node, module: Any, x: _Value | _Mark) -> _Value | _Mark:
        if isinstance(x, _Mark):
            return x
        if module.running_mean is None:
            self._refuse(node, "it has no running statistics")
        if x.dim != 1 or len(self._shape(node)) not in NORMS[type(module)]:
            self._refuse(node, "it acts along another dimension than the layer before")
        values = (x.constant.flatten() - module.running_mean) / (
            module.running_var + module.eps
        ).sqrt()
        if module.weight is not None:
            values = values * module.weight
        if module.bias is not None:
            values = values + module.bias
        self.norms.append((str(node.target), x.group, x.constant.shape[1]))
        return _Value(x.group, x.dim, values.reshape(x.constant.shape))

    def _elementwise(self, node: fx.Node, name: str, base: str) -> _Value | _Mark:
        in_place = name != base or name in ("iadd", "isub", "imul", "itruediv")
        if in_place or node.kwargs.get("inplace") or any(a is True for a in node.args):
            self._write(node)
        operands = [self._tensor(node, n) for n in node.all_input_nodes]
        values = [value for value in operands if isinstance(value, _Value)]
        if not values:
            return _Mark.WHOLE
        if len(operands) == 1:
            return self._mapped(values[0], lambda t: _call(node, t))
        if base not in PAIRWISE or len(operands) != 2:
            self._refuse(node, "this operation of several tensors is not supported")
        if any(self._shape(n) != self._shape(node) for n in node.all_input_nodes):
            self._refuse(node, "it combines tensors of different shapes")
        first = values[0]
        if len(values) == 1:  # the other is whole: so must this one be
            self._pin(first)
            return _Value(first.group, first.dim, torch.full_like(first.constant, math.nan))
        second = values[1]
        if first.dim != second.dim or first.constant.shape != second.constant.shape:
            self._refuse(node, "its operands hold their channels in different places")
        self._parents[self.find(second.group)] = self.find(first.group)
        return _Value(first.group, first.dim, _call(node, first.constant, second.constant))

    def _mapped(self, x: _Value | _Mark, function: Callable[[Tensor], Tensor]) -> _Value | _Mark:
        if isinstance(x, _Mark):
            return x
        return _Value(x.group, x.dim, function(x.constant.clone()))

    def _pool(
        self, node: fx.Node, x: _Value | _Mark, name: str, function: Callable[[Tensor], Tensor]
    ) -> _Value | _Mark:
        shape = self._shape(node)  # of no single tensor if it returns indices as well
        if isinstance(x, _Mark):
            return x
        if x.dim != 1 or len(shape) != int(name[-2]) + 2:
            self._refuse(node, "it acts along another dimension than the layer before")
        before = self._shape(node.all_input_nodes[0])
        # padding and unusual divisors show in what becomes of a constant
        same = all(
            torch.allclose(out, torch.full_like(out, sign), rtol=0, atol=1e-12)
            for sign in (1.0, -1.0)
            for out in [function(x.constant.new_full((1, 1, *before[2:]), sign))]
        )
        constant = x.constant
        if not same:
            constant = constant.where(constant == 0, math.nan)
        return _Value(x.group, x.dim, constant)

    def _flatten(self, node: fx.Node, x: _Value | _Mark, start: Any, end: Any) -> _Value | _Mark:
        if isinstance(x, _Mark):
            return x
        before = self._shape(node.all_input_nodes[0])
        start, end = start % len(before), end % len(before)
        self._alias(node, x)
        if start > x.dim:
            return x
        if (x.dim, start, end) != (1, 1, len(before) - 1):
            self._refuse(node, "it mixes channels with other dimensions than those after them")
        block = math.prod(before[2:])
        return _Value(x.group, 1, x.constant.repeat_interleave(block, dim=1))

    def _mean(self, node: fx.Node, x: _Value | _Mark) -> _Value | _Mark:
        if isinstance(x, _Mark):
            return x
        rank = len(self._shape(node.all_input_nodes[0]))
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = dims if isinstance(dims, tuple | list) else [dims]
        if x.dim != 1 or not all(isinstance(a, int) and a % rank > 1 for a in axes):
            self._refuse(node, "it averages over channels or examples")
        return x

    # safety

    def _tensor(self, node: fx.Node, argument: Any) -> _Value | _Mark:
        value = self._values[argument] if isinstance(argument, fx.Node) else None
        if isinstance(value, _Value) or value is _Mark.WHOLE:
            return value
        return self._refuse(node, "it computes with sizes")

    def _shape(self, node: fx.Node) -> torch.Size:
        meta: Any = node.meta["tensor_meta"]
        if not hasattr(meta, "shape"):
            self._refuse(node, "it returns more than one tensor")
        shape: torch.Size = meta.shape
        return shape

    def _alias(self, node: fx.Node, x: _Value | _Mark) -> _Value | _Mark:
        """Note that a result may share the memory of its operand."""
        self._aliases[node] = node.all_input_nodes[0]
        return x

    def _write(self, node: fx.Node) -> None:
        """Refuse to overwrite what is also read elsewhere: its constants would be others."""
        target = node.all_input_nodes[0]
        self._aliases[node] = target
        while True:
            if len(target.users) > 1 and isinstance(self._values[target], _Value):
                self._refuse(node, "it overwrites a tensor that is used elsewhere")
            if target not in self._aliases:
                return
            target = self._aliases[target]

    def _refuse(self, node: fx.Node, reason: str) -> NoReturn:
        if node.op == "call_module":
            kind = type(self.model.get_submodule(str(node.target))).__name__
            name = f"`{node.target}` ({kind})"
        elif node.op in ("get_attr", "output"):
            name = f"`{node.target}`"
        else:
            name = f"`{_function_name(node)}`"
            path = [p for p, _ in node.meta.get("nn_module_stack", {}).values()]
            if path and path[-1]:
                name += f" in `{path[-1]}`"
        raise UnsupportedModelError(
            f"{name} cannot be shrunk: {reason}. Leave the zeros in place, or change the model."
        )


def _check_ownership(model: nn.Module) -> None:
    """Refuse what makes a layer more than its weights: ties and hooks."""
    owners: dict[int, tuple[str, nn.Module]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = model.get_submodule(name.rpartition(".")[0])
        first, other = owners.setdefault(id(parameter), (name, owner))
        if other is not owner:
            raise UnsupportedModelError(
                f"`{name}` cannot be shrunk: it is tied to `{first}`. Leave the zeros in place."
            )
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise UnsupportedModelError(
                f"`{name or type(module).__name__}` cannot be shrunk: it has hooks. Remove them."
            )


def _rounded(needed: Tensor, round_to: int) -> Tensor:
    """Add channels up to a multiple, and at least one."""
    count = int(needed.sum())
    target = min(len(needed), max(1, math.ceil(count / round_to)) * round_to)
    chosen = needed.clone()
    chosen[(~needed).nonzero()[: target - count, 0]] = True
    return chosen


def _cut_layer(
    layer: _Layer,
    model: nn.Module,
    needed: Mapping[int, Tensor],
    chosen: Mapping[int, Tensor],
    find: Callable[[int], int],
) -> tuple[int, int]:
    """Cut the rows and columns of one layer, in place."""
    module: Any = model.get_submodule(layer.name)
    into, out = find(layer.group_in), find(layer.group_out)
    weight = module.weight.detach()
    # units that only fill up are zero, and nobody listens to them
    idle_rows = (~needed[out]).to(weight.device)
    idle_columns = (~needed[into]).repeat_interleave(layer.block).to(weight.device)
    rows = chosen[out].to(weight.device)
    columns = chosen[into].repeat_interleave(layer.block).to(weight.device)
    weight = weight.clone()
    weight[idle_rows] = 0
    weight[:, idle_columns] = 0
    shift = layer.shift[:, ~needed[into]].sum(1)
    shift[~needed[out]] = 0
    bias = None
    if module.bias is not None or shift.any():
        old = 0.0 if module.bias is None else module.bias.detach().cpu().double()
        bias = (old + shift).to(weight)
        bias[idle_rows] = 0
        bias = bias[rows]
    grad = module.weight.requires_grad
    module.weight = nn.Parameter(weight[rows][:, columns].contiguous(), requires_grad=grad)
    if bias is not None:
        grad = grad if module.bias is None else module.bias.requires_grad
        module.bias = nn.Parameter(bias, requires_grad=grad)
    sizes = (int(rows.sum()), int(columns.sum()))
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = sizes
    else:
        module.out_channels, module.in_channels = sizes
    return sizes


def _cut_norm(module: Any, chosen: Tensor, block: int) -> None:
    """Cut the features of one batch normalisation, in place."""
    features = chosen.repeat_interleave(block).to(module.running_mean.device)
    for name in ("weight", "bias"):
        old = getattr(module, name)
        if old is not None:
            new = nn.Parameter(old.detach()[features], requires_grad=old.requires_grad)
            setattr(module, name, new)
    module.running_mean = module.running_mean[features]
    module.running_var = module.running_var[features]
    module.num_features = int(features.sum())


def _checked_difference(found: Tensor, expected: Tensor, model: nn.Module) -> float:
    """Largest difference of two outputs; raise UnsupportedModelError if it is no rounding."""
    difference = float((found - expected).abs().max())
    scale = float(expected.abs().max()) or 1.0
    # folded constants are rounded to the precision of the biases
    precisions = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    if not difference <= max(TOLERANCE, *(8 * eps for eps in precisions)) * scale:
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be shrunk: the smaller model's output differs by "
            f"{difference:.3g} from the masked one's, of scale {scale:.3g}. Leave the zeros in "
            "place."
        )
    return difference


def _call(node: fx.Node, *tensors: Tensor) -> Tensor:
    """Carry out the operation of a node on other tensors."""
    given: Iterator[tuple[fx.Node, Tensor]] = zip(node.all_input_nodes, tensors, strict=True)
    new = {old: tensor.clone() for old, tensor in given}
    arguments: Any = fx.node.map_arg(node.args, lambda n: new[n])
    options: Any = fx.node.map_arg(node.kwargs, lambda n: new[n])
    if isinstance(node.target, str):
        done = getattr(arguments[0], node.target)(*arguments[1:], **options)
    else:
        done = node.target(*arguments, **options)
    assert isinstance(done, Tensor)
    return done


def _function_name(node: fx.Node) -> str:
    """Name of a function or method, qualified if it is not torch's or Python's own."""
    if isinstance(node.target, str):
        return node.target
    module = getattr(node.target, "__module__", None) or "torch"
    name = getattr(node.target, "__name__", str(node.target))
    known = module.split(".")[0] in ("torch", "_operator", "builtins")
    return name if known else f"{module}.{name}"


def _pads_with_zeros(module: Any) -> bool:
    if isinstance(module, nn.Linear) or module.padding_mode != "zeros":
        return False
    if module.padding == "same":
        return any(size > 1 for size in module.kernel_size)
    return module.padding != "valid" and any(module.padding)


def _n_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
