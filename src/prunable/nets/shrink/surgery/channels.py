"""Which channels of a model must go or stay together, and which the output depends on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from prunable.errors import UnsupportedModelError
from prunable.nets.shrink.surgery import operations


class Mark(Enum):
    """Values that are no cuttable tensor."""

    WHOLE = auto()  # a tensor that keeps its shape, such as the input
    SHAPE = auto()
    NUMBER = auto()  # a size that cutting does not change


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the graph whose channels may go.

    `constant`, shape (n channels, features a channel), holds what each feature is for every
    input, position and example; NaN where it varies. `dim` is the axis of the channels.
    """

    group: int
    dim: int
    constant: Tensor


@dataclass(frozen=True, eq=False)
class TracedLayer:
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


class Channels:
    """Follow the channels of a model through its graph.

    Channels that must go or stay together form a group: a union-find over group numbers.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        self.model = model
        self.layers: list[TracedLayer] = []
        self.norms: list[tuple[str, int, int]] = []
        self._parents: list[int] = []
        self._sizes: list[int] = []
        self._pinned: set[int] = set()
        self._values: dict[fx.Node, Value | Mark] = {}
        self._aliases: dict[fx.Node, fx.Node] = {}
        self._called: set[str] = set()
        try:
            traced = fx.symbolic_trace(model)
            self.output = ShapeProp(traced).propagate(example.clone())
        except Exception as error:  # tracing runs the model's own code
            raise _refusal(model, f"its graph cannot be followed ({error})") from error
        if sum(node.op == "placeholder" for node in traced.graph.nodes) != 1:
            raise _refusal(model, "it takes more than one input")
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

    def _pin(self, value: Value | Mark) -> Mark:
        if isinstance(value, Value):
            self._pinned.add(value.group)
        return Mark.WHOLE

    # nodes

    def _visit(self, node: fx.Node) -> Value | Mark:
        if node.op == "placeholder":
            return Mark.WHOLE
        if node.op == "get_attr":
            return self._attribute(node)
        if node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                self._refuse(node, "it is not a single tensor")
            return self._pin(self._values[node.args[0]])
        if node.op == "call_module":
            return self._module(node)
        return self._operation(node)

    def _attribute(self, node: fx.Node) -> Mark:
        owner = str(node.target).rpartition(".")[0]
        if type(self.model.get_submodule(owner)) in (*operations.LAYERS, *operations.NORMS):
            self._refuse(node, "it is used outside its layer")
        return Mark.WHOLE

    def _module(self, node: fx.Node) -> Value | Mark:
        name = str(node.target)
        module: Any = self.model.get_submodule(name)
        kind = type(module)
        if len(node.args) != 1 or node.kwargs:
            self._refuse(node, "it takes more than one input")
        x = self._tensor(node, node.args[0])
        if name in self._called and any(True for _ in module.parameters()):
            self._refuse(node, "it is called more than once")
        self._called.add(name)
        if kind in operations.LAYERS:
            return self._layer(node, module, x)
        if kind in operations.NORMS:
            return self._norm(node, module, x)
        if kind in operations.ACTIVATIONS.values():
            if getattr(module, "inplace", False):
                self._write(node)
            return self._mapped(x, module)
        if kind in (nn.Identity, *operations.DROPOUTS):
            return self._alias(node, x)
        if kind in operations.POOLS:
            return self._pool(node, x, kind.__name__.lower(), module)
        if kind is nn.Flatten:
            return self._flatten(node, x, module.start_dim, module.end_dim)
        if kind in (nn.Softmax, nn.LogSoftmax):
            return self._pin(x)
        return self._refuse(node, "this kind of layer is not supported")

    def _operation(self, node: fx.Node) -> Value | Mark:
        name = operations.function_name(node)
        if not node.args or not isinstance(node.args[0], fx.Node):
            operands = node.all_input_nodes
            if name not in operations.ELEMENTWISE or len(operands) != 1:
                self._refuse(node, "this operation is not supported")
        base = name.removesuffix("_")
        if name in ("size", "getattr", "getitem"):
            return self._size(node, name)
        if base in operations.ELEMENTWISE:
            return self._elementwise(node, name, base)
        x = self._tensor(node, node.args[0])
        arguments = node.args[1:]
        if x is Mark.WHOLE and name in operations.OF_INPUT:
            return x
        if any(isinstance(self._values[n], Value) for n in node.all_input_nodes[1:]):
            self._refuse(node, "this operation is not supported")
        if name in operations.POOL_FUNCTIONS:
            return self._pool(node, x, name, lambda t: operations.call_node(node, t))
        if name == "flatten":
            bounds = dict(zip(("start_dim", "end_dim"), arguments, strict=False)) | node.kwargs
            return self._flatten(node, x, bounds.get("start_dim", 0), bounds.get("end_dim", -1))
        if name in operations.RESHAPES:
            sizes = arguments[0] if isinstance(arguments[0], tuple | list) else arguments
            first = sizes[0]
            if (
                len(sizes) != 2
                or sizes[1] != -1
                or not isinstance(first, fx.Node)
                or self._values[first] is not Mark.NUMBER
            ):
                self._refuse(node, "it may write down the size of what is cut; use flatten(1)")
            return self._flatten(node, x, 1, -1)
        if name == "mean":
            return self._mean(node, x)
        if name == "contiguous":
            return self._alias(node, x)
        if name in operations.DROPOUT_FUNCTIONS:
            settings = dict(zip(("p", "training"), arguments, strict=False)) | node.kwargs
            default = name != "alpha_dropout"
            if settings.get("training", settings.get("train", default)) is not False:
                self._refuse(node, "it is random in evaluation mode")
            return self._alias(node, x)
        if name in ("softmax", "log_softmax", "pad"):
            return self._pin(x)
        return self._refuse(node, "this operation is not supported")

    def _sliced(self, node: fx.Node, value: Value | Mark, index: Any) -> Value | Mark | None:
        """The value of x[..., a:b:c] where all channels stay; None for other indices."""
        if not isinstance(index, tuple) or not all(isinstance(part, slice) for part in index):
            return None
        if value is Mark.WHOLE:
            return value
        if not isinstance(value, Value) or index[value.dim : value.dim + 1] not in (
            (),
            (slice(None),),
        ):
            return None
        return self._alias(node, value)

    def _size(self, node: fx.Node, name: str) -> Value | Mark:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        value = self._values[source]
        index = node.args[1] if len(node.args) > 1 else None
        if name == "getattr" and index != "shape":
            self._refuse(node, "this operation is not supported")
        if name == "getitem" and (kept := self._sliced(node, value, index)) is not None:
            return kept
        if name == "getattr" or (name == "size" and index is None and not node.kwargs):
            return Mark.SHAPE
        if name == "getitem":
            if value is not Mark.SHAPE:
                self._refuse(node, "this operation is not supported")
            value = self._values[source.all_input_nodes[0]]
        if value is not Mark.WHOLE and index != 0:
            self._refuse(node, "it reads a size that cutting may change")
        return Mark.NUMBER

    # what the operations do to channels

    def _layer(self, node: fx.Node, module: Any, x: Value | Mark) -> Value:
        rank = len(self._shape(node))
        dim = rank - 1
        weight = module.weight
        if type(module) is not nn.Linear:
            dim = 1
            if module.groups != 1:
                self._refuse(node, f"it has {module.groups} groups")
            if rank != weight.ndim:
                self._refuse(node, "its input has no batch dimension")
        if isinstance(x, Value):
            if x.dim != dim:
                self._refuse(node, "it acts along another dimension than the layer before")
            group, constant = x.group, x.constant
        else:
            group = self._new_group(weight.shape[1])
            self._pinned.add(group)
            constant = weight.new_full((weight.shape[1], 1), math.nan)
        matrix = weight.reshape(len(weight), len(constant), -1)
        known = constant.isfinite().all(1)
        if operations.pads_with_zeros(module):
            known &= (constant == 0).all(1)
        shift = (matrix * constant.where(known[:, None], 0.0)).sum(-1)
        needs = (matrix != 0).any(-1) & ~known
        bias = 0.0 if module.bias is None else module.bias
        outputs = (shift.sum(1) + bias).masked_fill(needs.any(1), math.nan)
        made = Value(self._new_group(len(weight)), dim, outputs[:, None])
        name, block = str(node.target), constant.shape[1]
        self.layers.append(TracedLayer(name, group, made.group, needs, shift, block))
        return made

    def _norm(self, node: fx.Node, module: Any, x: Value | Mark) -> Value | Mark:
        if isinstance(x, Mark):
            return x
        if module.running_mean is None:
            self._refuse(node, "it has no running statistics")
        if x.dim != 1 or len(self._shape(node)) not in operations.NORMS[type(module)]:
            self._refuse(node, "it acts along another dimension than the layer before")
        values = (x.constant.flatten() - module.running_mean) / (
            module.running_var + module.eps
        ).sqrt()
        if module.weight is not None:
            values = values * module.weight
        if module.bias is not None:
            values = values + module.bias
        self.norms.append((str(node.target), x.group, x.constant.shape[1]))
        return Value(x.group, x.dim, values.reshape(x.constant.shape))

    def _elementwise(self, node: fx.Node, name: str, base: str) -> Value | Mark:
        in_place = name != base or name in ("iadd", "isub", "imul", "itruediv")
        if in_place or node.kwargs.get("inplace") or any(a is True for a in node.args):
            self._write(node)
        operands = [self._tensor(node, n) for n in node.all_input_nodes]
        values = [value for value in operands if isinstance(value, Value)]
        if not values:
            return Mark.WHOLE
        if len(operands) == 1:
            return self._mapped(values[0], lambda t: operations.call_node(node, t))
        if base not in operations.PAIRWISE or len(operands) != 2:
            self._refuse(node, "this operation of several tensors is not supported")
        if any(self._shape(n) != self._shape(node) for n in node.all_input_nodes):
            self._refuse(node, "it combines tensors of different shapes")
        first = values[0]
        if len(values) == 1:  # the other is whole: so must this one be
            self._pin(first)
            return Value(first.group, first.dim, torch.full_like(first.constant, math.nan))
        second = values[1]
        if first.dim != second.dim or first.constant.shape != second.constant.shape:
            self._refuse(node, "its operands hold their channels in different places")
        self._parents[self.find(second.group)] = self.find(first.group)
        return Value(
            first.group, first.dim, operations.call_node(node, first.constant, second.constant)
        )

    def _mapped(self, x: Value | Mark, function: Callable[[Tensor], Tensor]) -> Value | Mark:
        if isinstance(x, Mark):
            return x
        return Value(x.group, x.dim, function(x.constant.clone()))

    def _pool(
        self, node: fx.Node, x: Value | Mark, name: str, function: Callable[[Tensor], Tensor]
    ) -> Value | Mark:
        shape = self._shape(node)  # of no single tensor if it returns indices as well
        if isinstance(x, Mark):
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
        return Value(x.group, x.dim, constant)

    def _flatten(self, node: fx.Node, x: Value | Mark, start: Any, end: Any) -> Value | Mark:
        if isinstance(x, Mark):
            return x
        before = self._shape(node.all_input_nodes[0])
        start, end = start % len(before), end % len(before)
        self._alias(node, x)
        if start > x.dim:
            return x
        if (x.dim, start, end) != (1, 1, len(before) - 1):
            self._refuse(node, "it mixes channels with other dimensions than those after them")
        block = math.prod(before[2:])
        return Value(x.group, 1, x.constant.repeat_interleave(block, dim=1))

    def _mean(self, node: fx.Node, x: Value | Mark) -> Value | Mark:
        if isinstance(x, Mark):
            return x
        rank = len(self._shape(node.all_input_nodes[0]))
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        axes = dims if isinstance(dims, tuple | list) else [dims]
        if x.dim != 1 or not all(isinstance(a, int) and a % rank > 1 for a in axes):
            self._refuse(node, "it averages over channels or examples")
        return x

    # safety

    def _tensor(self, node: fx.Node, argument: Any) -> Value | Mark:
        value = self._values[argument] if isinstance(argument, fx.Node) else None
        if isinstance(value, Value) or value is Mark.WHOLE:
            return value
        return self._refuse(node, "it computes with sizes")

    def _shape(self, node: fx.Node) -> torch.Size:
        meta: Any = node.meta["tensor_meta"]
        if not hasattr(meta, "shape"):
            self._refuse(node, "it returns more than one tensor")
        shape: torch.Size = meta.shape
        return shape

    def _alias(self, node: fx.Node, x: Value | Mark) -> Value | Mark:
        """Note that a result may share the memory of its operand."""
        self._aliases[node] = node.all_input_nodes[0]
        return x

    def _write(self, node: fx.Node) -> None:
        """Refuse to overwrite what is also read elsewhere: its constants would be others."""
        target = node.all_input_nodes[0]
        self._aliases[node] = target
        while True:
            if len(target.users) > 1 and isinstance(self._values[target], Value):
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
            name = f"`{operations.function_name(node)}`"
            path = [p for p, _ in node.meta.get("nn_module_stack", {}).values()]
            if path and path[-1]:
                name += f" in `{path[-1]}`"
        raise UnsupportedModelError(
            f"{name} cannot be shrunk: {reason}. Leave the zeros in place, or change the model."
        )


def _refusal(model: nn.Module, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"`{type(model).__name__}` cannot be shrunk: {reason}. Leave the zeros in place."
    )
