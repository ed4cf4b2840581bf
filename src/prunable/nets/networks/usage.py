"""What a run of a network does with parameters that no layer holds: weights, or tables."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from prunable.nets.networks.coupling.state import Call
from prunable.nets.networks.coupling.tracing import plain_operations
from prunable.nets.networks.examples import checked_run, mapped
from prunable.nets.networks.parametrized import plain_copy

# Operations that sum over products of two tensors; the two are their last ones.
PRODUCTS = re.compile(r"\w*mm|\w*mv|dot|linear|matmul")
CONVOLUTIONS = {"convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"}
LOOKED_UP = {"index", "index_select", "gather", "take", "take_along_dim", "_unsafe_index"}
PUT_TOGETHER = {"cat", "stack"}
DISTANCES = {"_cdist_forward", "cdist", "_euclidean_dist", "_pdist_forward"}
SCALING = {"mul", "div"}

LOOKUP = "a table: its rows are looked up"
ADDED = "a table: it is added to activations, number by number"
BESIDE = "a table: it is put beside activations"
COMPARED = "a table: activations are compared with it by distance"
SCALED = "a scale: it multiplies activations number by number"
NOT_RUN = "not run on the example"

# What a tensor is made of: names of parameters, and whether a product of two of them came between.
Made = dict[str, bool]


@dataclass(frozen=True)
class Use:
    """What a run does with a parameter."""

    weight: bool = False  # whether it is a factor of matrix products with activations
    table: str | None = None  # what it is instead
    run: bool = True


def uses_of(model: nn.Module, example: Any, names: Collection[str]) -> dict[str, Use]:
    """How one run of a network, in evaluation mode, uses some of its parameters.

    A weight is a factor of a matrix product, a convolution or an einsum whose other factor depends
    on the input. What is added to activations, looked up by index, compared by distance or put
    beside activations is a table, also where it is a factor elsewhere. Where the run tells neither,
    as of what meets other parameters only, neither is said. Raises InputError if the example does
    not fit.
    """
    copied = plain_copy(model)
    mode = _Follow()
    for name, parameter in copied.named_parameters():
        mode.made[parameter] = {name: False} if name in names else {}
    inputs = mapped(example, lambda x: x.detach().clone())
    mapped(inputs, mode.enter)
    with torch.random.fork_rng(devices=[]), plain_operations(copied), mode:
        checked_run(copied, inputs)
    return {name: mode.use(name) for name in names}


@dataclass(eq=False)
class _Seen:
    """What was seen of parameters, by name."""

    run: set[str] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)
    scales: set[str] = field(default_factory=set)
    tables: dict[str, str] = field(default_factory=dict)


class _Follow(TorchDispatchMode):
    """Note of each tensor what it is made of, and of each operation what it does with that."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Any = WeakTensorKeyDictionary()  # of tensors that are no activations
        self.live: Any = WeakTensorKeyDictionary()  # activations, and the parameters scaled in them
        self.seen = _Seen()

    def enter(self, tensor: Tensor) -> Tensor:
        """Take note of an input."""
        self.live[tensor] = set()
        return tensor

    def use(self, name: str) -> Use:
        """What was seen of a parameter."""
        seen = self.seen
        table = seen.tables.get(name)
        weight = name in seen.weights and table is None
        if table is None and not weight and name in seen.scales:
            table = SCALED
        return Use(weight, table, name in seen.run)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation, and note what it does."""
        del types
        result = func(*args, **(kwargs or {}))
        call = Call(func, args, kwargs or {}, result)
        tensors = call.tensors
        if tensors and call.outputs:
            live = [t for t in tensors if t in self.live]
            made = self._join(tensors)
            self.seen.run |= set(made)
            self._note(call, live, made)
        return result

    def _join(self, tensors: Collection[Tensor]) -> Made:
        joined: Made = {}
        for tensor in tensors:
            for name, through in self.made.get(tensor, {}).items():
                joined[name] = joined.get(name, False) or through
        return joined

    def _note(self, call: Call, live: list[Tensor], made: Made) -> None:
        name, scaled = call.name, set[str]().union(*(self.live[t] for t in live))
        if name in CONVOLUTIONS or PRODUCTS.fullmatch(name):
            made = self._product(call, live, made)
            scaled = set()
        elif name in ("embedding", "_embedding_bag"):
            self._say(self._of(call.first), LOOKUP)
        elif name in LOOKED_UP and call.first not in self.live:
            if self._is_one_of_several(call):
                live = []  # the matrices that a router chooses are matrices still
            else:  # by the input or by the distance of places
                self._say(self._of(call.first), LOOKUP)
        elif live and made:
            if name in SCALING:
                self.seen.scales |= set(made)
                scaled |= set(made)
            else:
                told = BESIDE if name in PUT_TOGETHER else ADDED
                told = COMPARED if name in DISTANCES else told
                self._say(made, told)
        outputs = call.outputs
        if call.function._schema.is_mutable:  # what is written into a part is in the whole
            outputs = [*outputs, *(t._base for t in outputs if t._base is not None)]
        for tensor in outputs:
            if live:
                self.live[tensor] = scaled
                self.made.pop(tensor, None)
            elif made:
                self.made[tensor] = made

    def _product(self, call: Call, live: list[Tensor], made: Made) -> Made:
        """Note the factors; what the product of two parameters is made of."""
        numbers = [t for t in call.tensors if t.is_floating_point() or t.is_complex()]
        first = call.name in CONVOLUTIONS or call.name == "linear"
        one, other = numbers[:2] if first else numbers[-2:]
        addends = numbers[2:] if first else numbers[:-2]
        if call.name in CONVOLUTIONS:
            # a filter that the input has changed is a filter still
            self.seen.weights |= set(self.live.get(other, ()))
        for factor, by in ((one, other), (other, one)):
            if by in self.live and factor not in self.live:
                direct = {n for n, through in self.made.get(factor, {}).items() if not through}
                self.seen.weights |= direct
        for addend in addends:
            if live and addend not in self.live:
                self._say(self._of(addend), ADDED)
        return made if live else dict.fromkeys(made, True)

    def _is_one_of_several(self, call: Call) -> bool:
        """Whether what is looked up are whole matrices, by their first index."""
        result = call.out
        if call.name == "index_select":
            return call.first.ndim > 2 and int(call.args[1]) % call.first.ndim == 0
        if call.name != "index" or call.first.ndim < 3:
            return False
        indices = [i for i in call.args[1] if i is not None]
        return len(indices) == 1 and result.shape[-2:] == call.first.shape[-2:]

    def _of(self, tensor: Tensor) -> Made:
        return dict(self.made.get(tensor, {}))

    def _say(self, made: Made, what: str) -> None:
        for name in made:
            if what == LOOKUP or name not in self.seen.tables:
                self.seen.tables[name] = what
