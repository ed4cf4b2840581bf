"""What each kind of operation does to the labels of channels.

A rule is given an operation that has run and says which labels its result carries. A tensor has
one set of labels a family: those of its channels, and others that vary along other dimensions,
such as heads or tokens. Stored tensors are parameters, buffers, and what is made of these alone;
all others are live.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from prunable.nets.networks.coupling.labels import Mixing, compact, varying
from prunable.nets.networks.coupling.state import Call, State, lines, taken_apart

Kept = list[tuple[Tensor, bool]]  # families of a result, and whether each comes of a live tensor


def elementwise(state: State, call: Call) -> None:
    """Sums, products, gates: numbers at the same place meet."""
    shape = call.out.shape
    tensors = [t for t in call.tensors if t.ndim <= len(shape)]
    parts = [(t, [f.expand(shape) for f in state.families(t)]) for t in tensors]
    _combine(state, call, parts)


def channelwise(state: State, call: Call) -> None:
    """Normalisation by stored statistics, slopes: one number a channel, the second dimension."""
    x, *others = call.tensors
    view = [1, -1] + [1] * (x.ndim - 2)
    parts = [(x, list(state.families(x)))]
    for tensor in others:
        if tensor.ndim == 1 and len(tensor) in (1, x.shape[1]):
            spread = [f.view(view).expand(x.shape) for f in state.families(tensor)]
            parts.append((tensor.view(view), spread))
    _combine(state, call, parts)


def _combine(state: State, call: Call, parts: Sequence[tuple[Tensor, list[Tensor]]]) -> None:
    kept: Kept = []
    for tensor, families in parts:
        for family in families:
            _meet(state, call, kept, family, state.is_live(tensor))
    for tensor, families in parts:
        if not state.is_free(tensor):
            _fix(state, call, kept, tensor, families)
    live = call.live(state)
    for family, of_live in kept:
        if live and not of_live:  # a table of places, such as positions, is no layer's channels
            state.joined.pin(compact(family)[0])
    state.set(call.out, [f for f, of_live in kept if of_live or not live], live=live)


def _meet(state: State, call: Call, kept: Kept, family: Tensor, live: bool) -> None:
    """Join a family with the one that varies along the same dimensions, or keep it."""
    own = varying(family)
    if not own:
        return
    for number, (other, other_live) in enumerate(kept):
        theirs = varying(other)
        if not set(own) & set(theirs):
            continue
        if not live and other_live and set(own) < set(theirs):
            _serve_several(state, call, family, other, own)
        elif live and not other_live and set(theirs) < set(own):
            _serve_several(state, call, other, family, theirs)
        else:
            state.joined.join(family, other)
        finer = family if len(own) > len(theirs) else other
        kept[number] = (finer, live or other_live)
        return
    kept.append((family, live))


def _serve_several(
    state: State, call: Call, stored: Tensor, live: Tensor, dims: Iterable[int]
) -> None:
    """A stored number used for several channels stays, and those along its dimensions with it."""
    state.joined.pin(compact(stored)[0])
    state.joined.join_along(live, dims, call.name, state.module)


def _fix(state: State, call: Call, kept: Kept, tensor: Tensor, families: Sequence[Tensor]) -> None:
    """What meets a tensor without labels, of a size that stays, goes as a whole or not at all."""
    for other, _ in kept:
        extent = (1,) * (other.ndim - tensor.ndim) + tuple(tensor.shape)
        along = [dim for dim in varying(other) if extent[dim] > 1]
        if not any(set(varying(f)) & set(along) for f in families):
            state.joined.join_along(other, along, call.name, state.module)


def reduction(state: State, call: Call) -> None:
    """Sums, means, maxima: what is summed up can no longer be told apart."""
    dims = call.dims()
    kept = []
    for family in _mixed_along(state, call, dims):
        for dim in dims:
            family = family.narrow(dim, 0, 1)
        kept.append(family)
    for out in call.outputs:
        found = kept
        if out.ndim < call.first.ndim:
            found = [f.squeeze(tuple(dims)) for f in kept]
        state.set(out, found, live=call.live(state))


def scan(state: State, call: Call) -> None:
    """Softmax, sorting, running sums: the shape stays, what varies along the dimension mixes."""
    dims = call.dims()
    found = _mixed_along(state, call, dims)
    for out in call.outputs:
        kept = found
        for dim in dims:  # the largest few are fewer
            kept = [f.narrow(dim, 0, 1).expand(out.shape) for f in kept]
        same = out.shape == call.first.shape
        state.set(out, found if same else kept, live=call.live(state))


def _mixed_along(state: State, call: Call, dims: Iterable[int]) -> list[Tensor]:
    families = state.families(call.first)
    for family in families:
        mixed = set(varying(family)) & set(dims)
        state.joined.join_along(family, mixed, call.name, state.module)
    return families


def layer_norm(state: State, call: Call) -> None:
    """Normalisation over the last dimensions."""
    elementwise(state, call)
    count = len(call.args[1])
    for family in state.families(call.out):
        mixed = [dim for dim in varying(family) if dim >= family.ndim - count]
        state.joined.join_along(family, mixed, call.name, state.module)
    for other in call.outputs[1:]:
        state.set(other, [], live=True)


def group_norm(state: State, call: Call) -> None:
    """Normalisation over groups of channels, each of which goes as a whole."""
    channelwise(state, call)
    groups = int(call.args[6])
    for family in state.families(call.out):
        if 1 in varying(family):
            parts = family.unflatten(1, (groups, -1))
            mixed = [dim for dim in varying(parts) if dim >= 2]
            state.joined.join_along(parts, mixed, call.name, state.module)


def pooling(state: State, call: Call) -> None:
    """Pooling, resizing and padding of space: places mix, channels do not."""
    x, out = call.first, call.out
    space = next(x.ndim - n for n in (1, 2, 3) if f"{n}d" in call.name)
    kept = []
    for family in _mixed_along(state, call, range(space, x.ndim)):
        for dim in range(space, x.ndim):
            family = family.narrow(dim, 0, 1)
        kept.append(family.expand(out.shape))
    for one in call.outputs:
        state.set(one, kept, live=call.live(state))


def matrix_product(state: State, call: Call) -> None:
    """Products of two matrices, or of stacks of them, with or without an addend."""
    *addend, a, b = call.tensors
    vector = b.ndim == 1
    left = [_stack(f) for f in state.families(a)]
    right = [_stack(f.unsqueeze(-1) if vector else f) for f in state.families(b)]
    summed_left = [f for f in left if 2 in varying(f)]
    summed_right = [f for f in right if 1 in varying(f)]
    both_live = state.is_live(a) and state.is_live(b)
    _contract(state, call, summed_left, summed_right, (a, b))
    shape = torch.Size((*([1] * (3 - a.ndim)), *a.shape))[:2] + ((1,) if vector else b.shape[-1:])
    kept: Kept = []
    for families, dim, live in ((left, 2, state.is_live(a)), (right, 1, state.is_live(b))):
        for family in families:
            if dim in varying(family):
                if not both_live:
                    continue
                state.joined.join_along(family, [dim], call.name, state.module)
            elif not live:
                state.produced.append(compact(family)[0].reshape(-1))
            _meet(state, call, kept, family.narrow(dim, 0, 1).expand(shape), True)
    found = [f.reshape(call.out.shape) for f, _ in kept]
    state.set(call.out, found, live=True)
    if addend:
        spread = [f.expand(call.out.shape) for f in state.families(addend[0])]
        _combine(state, call, [(call.out, found), (addend[0], spread)])


def _stack(labels: Tensor) -> Tensor:
    return labels.reshape((1,) * (3 - labels.ndim) + tuple(labels.shape))


def _contract(
    state: State,
    call: Call,
    left: Sequence[Tensor],
    right: Sequence[Tensor],
    factors: tuple[Tensor, Tensor],
) -> None:
    """Columns of the left factor meet rows of the right one."""
    a, b = factors
    for families, kept, others, other in ((left, 1, right, b), (right, 2, left, a)):
        for family in families:
            if kept in varying(family):
                state.joined.join_along(family, [kept], call.name, state.module)
            if not others and not state.is_free(other):
                state.joined.pin(compact(family)[0])
    for one in left:
        for two in right:
            columns, rows = one[:, 0, :], two[:, :, 0]
            state.read.append(compact(rows)[0])
            if columns.shape[0] != rows.shape[0]:
                columns, rows = torch.broadcast_tensors(columns, rows)
            state.joined.join(columns, rows)


def trilinear(state: State, call: Call) -> None:
    """Sums over products of three tensors, as bilinear layers make them, of one weight."""
    factors, summed = call.tensors[:3], list(call.args[6])
    views: list[list[Tensor]] = []
    wide: list[Tensor] = []
    for tensor, dims in zip(factors, call.args[3:6], strict=True):
        both = [tensor, *state.families(tensor)]
        for dim in sorted(dims):
            both = [x.unsqueeze(dim) for x in both]
        wide.append(both[0])
        views.append(both[1:])
    shape = torch.broadcast_shapes(*(x.shape for x in wide))
    kept: Kept = []
    for tensor, families in zip(factors, views, strict=True):
        for family in families:
            spread = family.expand(shape)
            if not state.is_live(tensor):
                mixed = set(varying(spread)) & set(summed)
                (state.read if mixed else state.produced).append(compact(spread)[0].reshape(-1))
            _meet(state, call, kept, spread, state.is_live(tensor))
    for dim in summed:
        sides = [
            any(dim in varying(family) for family in families)
            for tensor, families in zip(wide, views, strict=True)
            if tensor.shape[dim] > 1
        ]
        for family, _ in kept:
            if dim in varying(family) and not all(sides):
                state.joined.pin(compact(family)[0])
    found = [f for f, _ in kept if not set(varying(f)) & set(summed)]
    for dim in summed:
        found = [f.narrow(dim, 0, 1) for f in found]
    state.set(call.out, [f.squeeze(tuple(summed)) for f in found], live=True)


def convolution(state: State, call: Call) -> None:
    """Convolutions of any number of dimensions, grouped, depthwise, transposed."""
    x, weight, bias = call.args[:3]
    transposed, groups = bool(call.args[6]), int(call.args[8])
    channel = x.ndim - weight.ndim + 1
    slots = {dim: lines(f, dim) for f in state.families(weight) for dim in varying(f)}
    read, made = (slots.get(0), slots.get(1)) if transposed else (slots.get(1), slots.get(0))
    given, kept = None, []
    for family in _mixed_along(state, call, range(channel + 1, x.ndim)):
        if channel in varying(family):
            mixed = [dim for dim in varying(family) if dim < channel]
            state.joined.join_along(family, mixed, call.name, state.module)
            given = lines(family, channel)
        else:
            for dim in range(channel, x.ndim):
                family = family.narrow(dim, 0, 1)
            kept.append(family.expand(call.out.shape))
    outs = call.out.shape[channel]
    if read is not None and given is not None:
        state.read.append(read)
    elif groups > 1 and given is not None:
        state.read.append(given)
    if groups > 1:
        made = _grouped(state, given, read, made, groups, outs, transposed)
    elif read is not None and given is not None:
        state.joined.join(read, given)
    elif read is not None and not state.is_free(x):
        state.joined.pin(read)
    elif given is not None:  # one channel with all the places: a size that stays
        state.joined.pin(given)
    if made is not None:
        view = [1] * call.out.ndim
        view[channel] = outs
        kept.append(made.view(view).expand(call.out.shape))
        state.produced.append(made)
        if isinstance(bias, Tensor):
            for family in state.families(bias):
                state.joined.join(family, made)
    state.set(call.out, kept, live=True)


def _grouped(
    state: State,
    given: Tensor | None,
    read: Tensor | None,
    made: Tensor | None,
    groups: int,
    outs: int,
    transposed: bool,
) -> Tensor | None:
    """Depthwise kernels go with their channels; other groups each lose the same places.

    The labels of the channels made are returned.
    """
    joined = state.joined
    if given is None:
        for slots in (read, made):
            if slots is not None:
                joined.pin(slots)
        return made if made is not None and len(made) == outs else None
    if len(given) == groups:  # one channel a group
        own = read if transposed else made
        if own is not None:
            joined.join(own, given.repeat_interleave(len(own) // groups))
        if transposed and made is not None:
            joined.pin(made)
        return given.repeat_interleave(outs // groups)
    if transposed and made is not None:
        made = made.repeat(groups)
    if not transposed and read is not None:
        read = read.repeat(groups)
    for slots in (given, read, made):
        if slots is not None:
            parts = slots.view(groups, -1)
            joined.join(parts, parts[:1].expand_as(parts))
    if read is not None:
        joined.join(read, given)
    return made


def embedding(state: State, call: Call) -> None:
    """Rows of a table: its columns are channels, its rows stay."""
    kept = []
    for family in state.families(call.first):
        if 1 in varying(family):
            kept.append(lines(family, 1).expand(call.out.shape))
            state.produced.append(lines(family, 1))
        else:
            state.joined.pin(compact(family)[0])
    state.set(call.out, kept, live=True)


def gated(state: State, call: Call) -> None:
    """Halves of a dimension, one the gate of the other."""
    dim = call.args[1] if len(call.args) > 1 else -1
    kept = []
    for family in state.families(call.first):
        one, other = family.chunk(2, dim)
        state.joined.join(one, other)
        kept.append(one)
    state.set(call.out, kept, live=call.live(state))


def moved(state: State, call: Call) -> None:
    """Views, permutations, joints, slices: labels move with the numbers."""
    found = call.moved(state)
    if found is None:
        return
    live = call.live(state)
    free = all(state.is_free(t) for t in call.tensors if t.is_floating_point())
    for out, families in zip(call.outputs, found, strict=True):
        state.set(out, families, live=live)
        if free:
            state.set_free(out)
    if call.name in ("split", "unbind", "unsafe_split", "split_with_sizes"):
        _part(state, found)
    elif call.name in ("view", "_unsafe_view", "unflatten", "reshape"):
        for before, after in zip(state.families(call.first), found[0], strict=False):
            state.splits += [(state.module, labels) for labels in taken_apart(before, after)]


def _part(state: State, parts: Sequence[list[Tensor]]) -> None:
    """Let equal parts of a dimension lose the same places, so that they stay equal parts."""
    for families in zip(*parts, strict=False):
        alike = [f for f in families if f.shape == families[0].shape]
        for other in alike[1:]:
            state.joined.join(families[0], other)
        (small,) = compact(torch.stack(alike))
        state.splits.append((state.module, small.squeeze()))


def written(state: State, call: Call) -> None:
    """Numbers copied into a tensor, or into a part of it: so are their labels."""
    target, source = call.tensors[:2]
    families = [f.expand(target.shape) for f in state.families(source)]
    live = call.live(state)
    whole = target._base
    if whole is None or whole.shape == target.shape:
        state.set(target, families, live=live)
    if whole is None:
        return
    kept = state.families(whole)
    for number, family in enumerate(families):
        start = kept[number] if number < len(kept) else torch.zeros(1, dtype=torch.int64)
        labels = start.expand(whole.shape).contiguous().clone()
        labels.as_strided(target.shape, target.stride(), target.storage_offset()).copy_(family)
        kept = [*kept[:number], labels, *kept[number + 1 :]]
    state.set(whole, kept, live=live)


def placed(state: State, call: Call) -> None:
    """Numbers put or added at some indices of one dimension, in which no channels lie."""
    target = call.first
    if call.name == "index_put":
        places = call.args[1]
        dims = [d for d, index in enumerate(places) if index is not None]
        one = all(i is None or i.ndim == 1 for i in places) and len(dims) == 1
    else:
        dims, one = [int(call.args[1]) % target.ndim], True
    numbers = [t for t in call.tensors[1:] if t.is_floating_point()]
    tensors = [target, *numbers[-1:]]
    families = {id(t): state.families(t) for t in tensors}
    varied = any(set(varying(f)) & set(dims) for fs in families.values() for f in fs)
    if not one or varied or any(t.ndim not in (0, target.ndim) for t in tensors):
        unknown(state, call)
        return
    parts = []
    for tensor in tensors:
        spread = families[id(tensor)]
        if tensor.ndim:  # as many places as the target has
            spread = [f.narrow(dims[0], 0, 1).expand(target.shape) for f in spread]
        parts.append((tensor, spread))
    _combine(state, call, parts)


def filled(state: State, call: Call) -> None:
    """Numbers that depend on no channel, in a tensor as large as another, or as it was."""
    as_large = call.out is not call.first or state.is_free(call.first)
    state.set(call.out, [], live=False)
    if as_large:
        state.set_free(call.out)


def unknown(state: State, call: Call) -> None:
    """An operation without a rule: all that goes in stays."""
    for tensor in call.tensors:
        for family in state.families(tensor):
            (small,) = compact(family)
            state.joined.pin(small)
            for label in small.unique().tolist():
                state.joined.mixings.append(Mixing(label, call.name, state.module, followed=False))
    for out in call.outputs:
        state.set(out, [], live=call.live(state))
