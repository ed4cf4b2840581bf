"""Memory of a forward pass, counted tensor by tensor."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import mapped, run
from prunable.nets.networks.inputs import tensors_of


class LiveBytes(TorchDispatchMode):
    """Count the bytes of the tensors that operations make, while they live.

    Tensors `known` exist already and do not count: views of them are no new memory.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known = [tensor.untyped_storage() for tensor in known]
        self._seen = {storage._cdata for storage in self._known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation, and note what it makes."""
        del types
        output = func(*args, **(kwargs or {}))
        for tensor in tensors_in(output):
            if tensor.layout == torch.strided:  # compressed rows are made of noted tensors
                self._note(tensor.untyped_storage())
        return output

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        # torch keeps the Python object of a storage as long as its memory lives
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.live -= size


def stored_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and buffers; shared memory counts once."""
    sizes = {}
    for tensor in (*model.parameters(), *model.buffers()):
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def peak_bytes(model: nn.Module, example: Any) -> int:
    """Most bytes that a forward pass without gradients holds at one time.

    Parameters, buffers, the input, and the activations that live together; not the work space of
    single operations.
    """
    own = [*model.parameters(), *model.buffers()]
    inputs = mapped(example, lambda x: x.clone())
    given = tensors_of(inputs)
    counter = LiveBytes([*own, *given])
    with torch.no_grad(), counter:
        run(model, inputs)
    held = {x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in given}
    return stored_bytes(model) + sum(held.values()) + counter.peak
