"""Linear layers in compressed rows, used where a timed probe says that they are faster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from prunable.arguments import checked
from prunable.errors import InputError, require
from prunable.nets.networks.equality import largest_difference, tensors_in
from prunable.nets.networks.examples import MISFITS, Example, run, shapes_of
from prunable.nets.networks.inputs import batch_size_of, tensors_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.networks.timing import interleaved_seconds
from prunable.nets.shrink.modules import CONVOLUTIONS, has_hooks, shared, swap_
from prunable.results import Result

DENSEST = 0.5  # share of non-zeros from which compressed rows hold more bytes than the matrix
GAIN = 0.95  # a layer changes if its time falls below this share, beyond the noise of the probe


@cache
def _warned() -> None:
    """Have torch say once, unheard, that compressed rows are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = torch.zeros(0, dtype=torch.int32)
        torch.sparse_csr_tensor(
            torch.zeros(2, dtype=torch.int32), empty, torch.zeros(0), (1, 1), check_invariants=False
        )


class SparseLinear(nn.Module):
    """Apply a linear layer whose matrix is stored in compressed rows, with 32-bit indices.

    Made with zeros, and the arguments of `torch.nn.Linear`; torch multiplies compressed rows on
    the CPU in float32 and float64. For inference: the values are not trained. A state dict holds
    `crow_indices`, `col_indices`, `values` and `bias`; loading one adopts its number of
    non-zeros. The product is that of the matrix and the transposed activations, whose columns
    stay adjacent from one such layer to the next; `F.linear` with compressed rows is several
    times slower.
    """

    crow_indices: Tensor
    col_indices: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _warned()
        self.in_features, self.out_features = in_features, out_features
        rows = torch.zeros(out_features + 1, dtype=torch.int32, device=device)
        self.register_buffer("crow_indices", rows)
        self.register_buffer("col_indices", torch.zeros(0, dtype=torch.int32, device=device))
        none = torch.zeros(0, device=device, dtype=dtype)
        self.values = nn.Parameter(none, requires_grad=False)
        self.bias: nn.Parameter | None = None
        if bias:
            zeros = torch.zeros(out_features, device=device, dtype=dtype)
            self.bias = nn.Parameter(zeros, requires_grad=False)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> SparseLinear:
        """Compress a layer of less than 2^31 non-zeros; the bias is the same parameter."""
        weight = linear.weight.detach()
        used = weight != 0
        count = int(used.sum())
        wanted = "a layer of fewer than 2^31 non-zeros"
        require(count < 2**31, "linear", "SparseLinear", wanted, count)
        sparse = cls(
            linear.in_features, linear.out_features, False, device=weight.device, dtype=weight.dtype
        )
        sparse.crow_indices[1:] = used.sum(1).cumsum(0)
        sparse.col_indices = used.nonzero()[:, 1].to(torch.int32)
        sparse.values = nn.Parameter(weight[used], requires_grad=False)
        sparse.bias = linear.bias
        return sparse.train(linear.training)

    def to_linear(self) -> nn.Linear:
        """The same layer with a whole matrix; the bias is the same parameter."""
        linear: Any = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.dense_weight(), requires_grad=False)
        linear.bias = self.bias
        linear.train(self.training)
        made: nn.Linear = linear
        return made

    def dense_weight(self) -> Tensor:
        """The matrix, shape (out_features, in_features)."""
        counts = self.crow_indices.diff().long()
        rows = torch.arange(self.out_features, device=counts.device).repeat_interleave(counts)
        whole = self.values.new_zeros(self.out_features, self.in_features)
        whole[rows, self.col_indices.long()] = self.values.detach()
        return whole

    @property
    def n_nonzero(self) -> int:
        """Number of stored values."""
        return self.values.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Map activations of shape (..., in_features) to (..., out_features)."""
        matrix = self._matrix(check=False)
        columns = x.reshape(-1, self.in_features).t()
        if self.bias is None:
            product = matrix @ columns
        else:
            product = torch.addmm(self.bias[:, None], matrix, columns)
        return product.t().reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Describe the layer in a line."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, n_nonzero={self.n_nonzero}"
        )

    def _matrix(self, *, check: bool) -> Tensor:
        return torch.sparse_csr_tensor(
            self.crow_indices,
            self.col_indices,
            self.values,
            (self.out_features, self.in_features),
            check_invariants=check,
        )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Adopt the stored number of non-zeros, and refuse indices that lead out of the matrix."""
        values, columns = (state_dict.get(prefix + n) for n in ("values", "col_indices"))
        if isinstance(values, Tensor) and isinstance(columns, Tensor):
            self.values = nn.Parameter(self.values.new_zeros(values.shape), requires_grad=False)
            self.col_indices = self.col_indices.new_zeros(columns.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        try:
            self._matrix(check=True)
        except RuntimeError as error:
            errors = kwargs["error_msgs"] if "error_msgs" in kwargs else args[-1]
            errors.append(f"{prefix.rstrip('.')} holds no compressed rows ({error})")


@dataclass(frozen=True)
class LayerLayout:
    """How one layer is stored after the probe, and why."""

    name: str
    layout: Literal["csr", "dense"]
    reason: str
    density: float  # share of weights that are not zero
    # By batch size, median time of compressed rows relative to the dense layer's, and the
    # interquartile range of that of single rounds; empty if the layer was not tried.
    times: Mapping[int, float]
    spread: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SparsifyReport(Result):
    """What the probe found."""

    layers: tuple[LayerLayout, ...]  # linear layers and convolutions
    # by batch size, median time of the returned model relative to the given one; 1 where nothing
    # changed
    times: Mapping[int, float]
    # largest difference of the two models' outputs, in the model's own precision
    max_difference: float
    spread: Mapping[int, float] = field(default_factory=dict)  # of `times`, as a layer's

    @property
    def n_sparse(self) -> int:
        """Number of layers in compressed rows."""
        return sum(layer.layout == "csr" for layer in self.layers)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [vars(layer) for layer in self.layers]


@checked("sparsify")
def sparsify(
    model: nn.Module, example_batches: Sequence[Example], *, repeats: int = 15
) -> tuple[nn.Module, SparsifyReport]:
    """Copy a model, with linear layers in compressed rows where that is faster on this machine.

    `example_batches` are what the model is called with, one of each batch size that counts;
    `repeats` are rounds of the probe, which times both layouts in turn. The model is left
    untouched; the copy is in its training mode, precision and device.

    A layer changes if it is faster at every batch size; if the changed model as a whole is
    then slower than the given one at any, all layers stay dense. What wins depends on the
    machine, its load and `torch.get_num_threads()`: probe as the model will run. Convolutions
    stay dense: torch has no sparse kernel for them.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(64, 32)
    >>> magnitude, little = prunable.strategies.MagnitudePruning(), prunable.budgets.Keep(0.01)
    >>> pruned = prunable.prune(net, magnitude, little)
    >>> x = torch.randn(1, 64)
    >>> sparse, report = prunable.sparsify(net, [x], repeats=3)
    >>> torch.allclose(sparse(x), net(x), atol=1e-6)
    True
    """
    batches = list(example_batches)
    filled = batches and all(map(_is_filled, batches))
    wanted = "one or more batches, none empty"
    require(filled, "example_batches", "sparsify", wanted, len(batches))
    dense = copied(model).eval()
    with torch.no_grad():
        seen = _inputs_of_layers(dense, batches)
        decided = {}
        for name, module in dense.named_modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                decided[name] = _decide(dense, name, module, seen.get(name, []), batches, repeats)
        chosen = [name for name, layer in decided.items() if layer.layout == "csr"]
        trial = _with_sparse(dense, chosen)
        unchanged = {batch_size_of(batch): 1.0 for batch in batches}
        times, spread = unchanged, dict.fromkeys(unchanged, 0.0)
        if chosen:
            candidates = {"model": trial, "reference": dense}
            times, spread = _relative_times(candidates, batches, batches, repeats)
        slow = [size for size, ratio in times.items() if ratio > 1]
        if slow:
            # the sizes at which the whole loses, though each layer alone gains
            reason = f"the whole model is slower in compressed rows at batch size {slow[0]}"
            for name in chosen:
                decided[name] = replace(decided[name], layout="dense", reason=reason)
            chosen, times, trial = [], unchanged, dense
            spread = dict.fromkeys(unchanged, 0.0)
        difference = max(
            largest_difference(tensors_in(run(trial, batch)), tensors_in(run(dense, batch)))
            for batch in batches
        )
    result = _with_sparse(model, chosen)
    return result, SparsifyReport(tuple(decided.values()), times, difference, spread)


def _is_filled(batch: Example) -> bool:
    given = tensors_of(batch)
    return bool(given) and all(x.ndim and x.numel() for x in given[:1])


def _inputs_of_layers(model: nn.Module, batches: Sequence[Example]) -> dict[str, list[Tensor]]:
    """What each linear layer is given, by batch, at its first call."""
    seen: dict[str, list[Tensor]] = {}
    handles = []
    done = 0

    def note(name: str, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found = seen.setdefault(name, [])
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and len(found) == done:
            found.append(inputs[0].clone())

    for name, module in model.named_modules():
        if type(module) is nn.Linear and not module._forward_pre_hooks:
            handles.append(module.register_forward_pre_hook(partial(note, name)))
    try:
        for batch in batches:
            run(model, batch)
            done += 1
    except MISFITS as error:
        raise InputError(
            f"`example_batches[{done}]` of shape {shapes_of(batch)} does not fit the model: {error}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _decide(
    model: nn.Module,
    name: str,
    module: Any,
    inputs: Sequence[Tensor],
    batches: Sequence[Example],
    repeats: int,
) -> LayerLayout:
    weight = module.weight
    density = int(torch.count_nonzero(weight)) / max(1, weight.numel())
    reason = _obstacle(model, module, density)
    if reason is None and len(inputs) < len(batches):
        reason = "the model does not call it"
    if reason is not None:
        return LayerLayout(name, "dense", reason, density, {})
    try:
        sparse = SparseLinear.from_linear(module)
        for x in inputs:
            sparse(x)
        run(_with_sparse(model, [name]), batches[0])
    except (RuntimeError, AttributeError, NotImplementedError, InputError) as error:
        return LayerLayout(name, "dense", f"compressed rows fail here: {error}", density, {})
    times, spread = _relative_times({"csr": sparse, "dense": module}, inputs, batches, repeats)
    worst = max(times, key=lambda size: times[size])
    share = f"{times[worst]:.2f} ± {spread[worst]:.2f} times the dense time at batch size {worst}"
    if times[worst] < GAIN:
        return LayerLayout(name, "csr", f"faster: at most {share}", density, times, spread)
    return LayerLayout(name, "dense", f"compressed rows take {share}", density, times, spread)


def _obstacle(model: nn.Module, module: Any, density: float) -> str | None:
    """Why a layer is not tried; None if it is."""
    if type(module) in CONVOLUTIONS or not isinstance(module, nn.Linear):
        return "convolution: torch has no sparse kernel for it"
    if type(module) is not nn.Linear:
        return f"{type(module).__name__} is more than a linear layer"
    if density > DENSEST and not has_hooks(module):
        return f"{density:.0%} of its weights are not zero"
    return shared(model, module)


def _with_sparse(model: nn.Module, names: Sequence[str]) -> nn.Module:
    return swap_(copied(model), names, lambda _, old: SparseLinear.from_linear(old))


def _relative_times(
    pair: Mapping[str, nn.Module],
    inputs: Sequence[Example],
    batches: Sequence[Example],
    repeats: int,
) -> tuple[dict[int, float], dict[int, float]]:
    """Median time of the first of a pair relative to that of the second, by batch size; spreads."""
    times, spread = {}, {}
    for batch, x in zip(batches, inputs, strict=True):
        calls = {name: partial(run, module, x) for name, module in pair.items()}
        first, second = interleaved_seconds(calls, repeats=repeats).values()
        size = batch_size_of(batch)
        times[size] = float(np.median(first) / np.median(second))
        low, high = np.quantile(first / second, [0.25, 0.75])
        spread[size] = float(high - low)
    return times, spread
