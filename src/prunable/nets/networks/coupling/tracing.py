"""One run of a network, in which the labels of its channels are followed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.coupling import rules
from prunable.nets.networks.coupling.labels import Mixing, Slots
from prunable.nets.networks.coupling.state import CASTS, Call, Rule, State
from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import MISFITS, checked_run, mapped, uncached
from prunable.nets.networks.parametrized import plain_copy


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = (
    _table(rules.matrix_product, "mm addmm bmm baddbmm mv addmv dot")
    | _table(rules.convolution, "convolution _convolution")
    | _table(rules.trilinear, "_trilinear")
    | _table(rules.embedding, "embedding")
    | _table(
        rules.channelwise,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_batch_norm_no_update cudnn_batch_norm miopen_batch_norm",
    )
    | _table(rules.layer_norm, "native_layer_norm _fused_rms_norm")
    | _table(rules.group_norm, "native_group_norm")
    | _table(rules.gated, "glu")
    | _table(
        rules.reduction,
        "sum mean amax amin max min prod var std var_mean std_mean argmax argmin norm "
        "linalg_vector_norm logsumexp any all nansum median",
    )
    | _table(
        rules.scan,
        "softmax _softmax _log_softmax log_softmax _safe_softmax cumsum cumprod sort topk "
        "logcumsumexp",
    )
    | _table(
        rules.pooling,
        "max_pool2d_with_indices max_pool3d_with_indices max_pool1d avg_pool1d avg_pool2d "
        "avg_pool3d adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d "
        "adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d upsample_nearest2d "
        "upsample_nearest3d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d "
        "upsample_linear1d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
        "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
    )
    | _table(rules.written, "copy")
    | _table(
        rules.placed,
        "index_add index_copy index_put _index_put_impl scatter scatter_add scatter_reduce "
        "index_reduce",
    )
    | _table(
        rules.filled,
        "fill new_full full_like ones_like new_ones new_empty empty_like "
        "rand_like randn_like bernoulli uniform normal exponential",
    )
    | _table(
        rules.moved,
        "view _unsafe_view reshape cat stack repeat index index_select gather constant_pad_nd "
        "roll flip slice_scatter select_scatter pixel_shuffle pixel_unshuffle channel_shuffle "
        "native_channel_shuffle im2col repeat_interleave unsafe_split unsafe_split_with_sizes "
        "tril triu transpose t squeeze unsqueeze swapaxes " + " ".join(CASTS),
    )
)
ZEROS = {"zeros", "zeros_like", "new_zeros", "zero"}
ALSO_ELEMENTWISE = {
    "where",
    "masked_fill",
    "addcmul",
    "addcdiv",
    "lerp",
    "_prelu_kernel",
    "hardswish",
    "log_sigmoid_forward",
    "native_dropout",
    "rrelu_with_noise",
    "floor_divide",
    "rsub",
    "nan_to_num",
}


@dataclass(frozen=True, eq=False)
class Coupling:
    """What one run of a network told of its channels."""

    slots: tuple[Slots, ...]
    # (n labels,) the unit of each label; 0 is that of what stays
    units: NDArray[np.int64]
    produced: NDArray[np.int64]  # labels of channels that layers make
    read: NDArray[np.int64]  # labels of channels that layers read
    splits: tuple[tuple[str, NDArray[np.int64]], ...]  # of modules: labels by the parts made
    mixings: tuple[Mixing, ...]
    # parameters that the example does not run, and labels of what may go into each
    unrun: tuple[tuple[str, NDArray[np.int64]], ...] = ()


def trace(model: nn.Module, example: Any) -> Coupling:
    """Follow the channels of a network through one run, in evaluation mode.

    A second run of the same copy, in training mode, adds what only training has. Where parameters
    are not run, a third one notes what they may be given: all that the code around them sees. The
    model is left as it was. Raises InputError if the example does not fit, UnsupportedModelError if
    no tensors come out.
    """
    state = State()
    model = plain_copy(model)
    _note_modules(model, state)
    with torch.random.fork_rng(devices=[]), plain_operations(model):
        for name, tensor in _stored(model):
            state.store(name, tensor)
        _follow_run(model, example, state)
        with contextlib.suppress(InputError, UnsupportedModelError):
            # heads that only training has; not every example can be trained on
            _follow_run(model.train(), example, state)
        around = _unrun(model, state)
        if around:
            state.watched = {module: [] for module in around.values()}
            _follow_run(model.eval(), example, state)
    unrun = [(name, _given(state, around[name], model.get_parameter(name))) for name in around]
    return Coupling(
        tuple(state.slots),
        _settled(state),
        _distinct(state.produced),
        _distinct(state.read),
        tuple((module, labels.numpy()) for module, labels in state.splits),
        tuple(state.joined.mixings),
        tuple(unrun),
    )


def _unrun(model: nn.Module, state: State) -> dict[str, str]:
    """Parameters that no run has used, and the innermost module that has run around each."""
    found = {}
    for name, parameter in model.named_parameters():
        if name not in state.used and parameter.numel() > 1:
            around = name.rpartition(".")[0]
            while around and around not in state.called:
                around = around.rpartition(".")[0]
            found[name] = around
    return found


def _given(state: State, module: str, parameter: Tensor) -> NDArray[np.int64]:
    """Labels of what may meet a parameter in the code of a module.

    A single line of numbers can only meet as many channels.
    """
    line = max(parameter.shape) == parameter.numel()
    seen = state.watched[module]
    return _distinct([x for x in seen if not line or len(x) == parameter.numel()])


def _follow_run(model: nn.Module, example: Any, state: State) -> None:
    inputs = mapped(example, lambda x: x.detach().clone())
    mapped(inputs, lambda x: _enter(state, x))
    with Follow(state):
        output = checked_run(model, inputs)
    found = tensors_in(output)
    if not found:
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be followed: what it returns holds no tensors. "
            "Return tensors, in tuples, dictionaries or dataclasses."
        )
    for tensor in found:
        for family in state.families(tensor):
            state.joined.pin(family)


def _distinct(labels: Sequence[Tensor]) -> NDArray[np.int64]:
    found = [one.reshape(-1).unique() for one in labels]
    return torch.cat([*found, torch.zeros(0, dtype=torch.int64)]).unique().numpy()


class Follow(TorchDispatchMode):
    """Label the result of every operation of torch's core library."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation, then its rule."""
        del types
        result = func(*args, **(kwargs or {}))
        call = Call(func, args, kwargs or {}, result)
        self.state.use(call.tensors)
        if not call.outputs:
            return result
        if not call.tensors or call.name in ZEROS:
            if call.name in ZEROS:
                self.state.set_free(call.out)
            return result
        rule = _rule(call)
        if rule in (rules.unknown, rules.filled) or any(
            self.state.families(t) for t in call.tensors
        ):
            _follow(rule, self.state, call)
        else:
            _pass_on(self.state, call)
        self.state.see(call.outputs)
        return result


def _follow(rule: Rule, state: State, call: Call) -> None:
    """Apply a rule; of an operation in a form that it does not foresee, all that goes in stays."""
    try:
        rule(state, call)
    except MISFITS:
        rules.unknown(state, call)


def _pass_on(state: State, call: Call) -> None:
    """Results without labels: whether they are live, and zeros that were moved about."""
    given = [t for t in call.tensors if t.is_floating_point()]
    kept = _rule(call) in (rules.moved, rules.elementwise)
    free = kept and bool(given) and all(state.is_free(t) for t in given)
    for out in call.outputs:
        state.set(out, [], live=call.live(state))
        if free:
            state.set_free(out)


def _rule(call: Call) -> Rule:
    if call.name in RULES:
        return RULES[call.name]
    if torch.Tag.pointwise in call.function.tags or call.name in ALSO_ELEMENTWISE:
        return rules.elementwise
    if call.function.is_view:
        return rules.moved
    return rules.unknown


def _enter(state: State, tensor: Tensor) -> Tensor:
    state.enter(tensor)
    return tensor


def _stored(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and buffers that may hold one number or one yes or no a channel."""
    yield from model.named_parameters()
    for name, buffer in model.named_buffers():
        numbers = buffer.is_floating_point() or buffer.dtype == torch.bool
        if numbers and buffer.ndim and max(buffer.shape) == buffer.numel():
            yield name, buffer


@contextmanager
def plain_operations(model: nn.Module) -> Iterator[None]:
    """Plain operations in place of fused ones, no cache among the outputs."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(uncached(model))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of settings that are only restored
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)


def _note_modules(model: nn.Module, state: State) -> None:
    """Let a copy note which of its modules is running."""
    for name, module in model.named_modules():
        module.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: _enter_module(state, name, (args, kwargs)),
            with_kwargs=True,
        )
        module.register_forward_hook(lambda _, __, output: _leave(state, output), always_call=True)


def _enter_module(state: State, name: str, given: Any) -> None:
    state.modules.append(name)
    state.called.add(name)
    if name in state.watched:
        state.see(tensors_in(given))


def _leave(state: State, output: Any) -> None:
    state.modules.pop()
    if state.module in state.watched:
        state.see(tensors_in(output))


def _settled(state: State) -> NDArray[np.int64]:
    """Units, after every split of channels into parts leaves parts of equal shape.

    Of the dimensions that channels were split into, units may vary along one: heads are kept or
    dropped whole, and halves lose the same places. Where they vary along several, places are tied
    along the shorter ones.
    """
    while True:
        units = state.joined.units()
        changed = False
        for _, labels in state.splits:
            found = torch.from_numpy(units[labels.numpy()])
            dims = [d for d in range(found.ndim) if (found != found.narrow(d, 0, 1)).any()]
            if len(dims) > 1:
                tied = sorted(dims, key=lambda d: labels.shape[d])[:-1]
                state.joined.join_along(labels, tied, "view", "")
                changed = True
        if not changed:
            return units
