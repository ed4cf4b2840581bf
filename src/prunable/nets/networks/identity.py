"""What a network is known by, so that nothing that was kept of another one counts for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from prunable.nets.networks.numbers import no_array


class Identity:
    """A digest of settings, networks and inputs, by all of their numbers."""

    def __init__(self, *settings: object) -> None:
        self._digest = hashlib.blake2b(repr(settings).encode(), digest_size=16)

    def add(self, tensor: Tensor, name: str = "") -> None:
        """Count a tensor: its type, shape and numbers."""
        self._digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        if no_array(tensor) is not None:
            self._digest.update(repr(tensor).encode())
            return
        plain = tensor.detach().cpu().contiguous()
        if plain.numel():
            self._digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)

    def add_network(
        self,
        model: nn.Module,
        holding: Callable[[nn.Module], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        """Count a network: its modules, its config if it has one, its parameters and buffers.

        `holding` has the numbers of a module in memory for a while.
        """
        said = (type(model).__qualname__, repr(model), repr(getattr(model, "config", None)))
        self._digest.update(repr(said).encode())
        for path, module in model.named_modules():
            tensors = (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            )
            if not tensors:
                continue
            with holding(module):
                # which may be others now
                for name, _ in tensors:
                    self.add(getattr(module, name), f"{path}.{name}")

    @property
    def text(self) -> str:
        """The digest so far, in hexadecimal digits."""
        return self._digest.hexdigest()

    def section(self) -> None:
        """End a list of tensors, so that others of another kind can follow."""
        self._digest.update(b"|")
