"""Language models on windows of text: what is read, and what networks say there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunable.errors import require
from prunable.experiments.prune.inputs import TOKENS_AT_ONCE
from prunable.forecast.estimators.language import window_figures
from prunable.nets.measure.perplexity import token_scores
from prunable.nets.models.hub import load_folder
from prunable.nets.models.texts import calls_of, check_tokens, tokenizer_of, tokens_of, windows_of
from prunable.nets.networks.examples import evaluating, on_device_of
from prunable.runs.devices import devices_of

WHERE = "forecast"


def spread_windows(
    source: Path | str, text: Path | str, length: int, count: int, where: str = WHERE
) -> Tensor:
    """Windows of a text, (count, length), spread evenly over it from its start to its end.

    Windows beside each other are of one topic, and tell less of what is to come. Raises InputError
    if the text is too short, or the source has no tokenizer.
    """
    tokens = tokens_of(tokenizer_of(source, where), text, where)
    windows_of(tokens, length, count, where=where)  # refuses texts that are too short
    whole = windows_of(tokens, length, None, where=where)
    return whole[np.linspace(0, len(whole) - 1, count).round().astype(int)]


def first_windows(
    source: Path | str, text: Path | str, length: int, count: int, where: str = WHERE
) -> Tensor:
    """The first windows of a text, (count, length), to calibrate on as `prune` does."""
    tokens = tokens_of(tokenizer_of(source, where), text, where)
    return windows_of(tokens, length, count, where=where)


def language_model(source: Path | str, device: str = "auto") -> nn.Module:
    """The model of a folder of transformers or a GGUF file, in evaluation mode, on a device."""
    return load_folder(source, WHERE).eval().float().to(devices_of(device)[0])


def calls_for(model: nn.Module, windows: Tensor) -> tuple[Any, ...]:
    """What a model is called with to calibrate on, in the batches that `prune` makes."""
    check_tokens(model, windows, WHERE)
    step = max(1, min(TOKENS_AT_ONCE // windows.shape[1], len(windows) // 4))
    calls = (calls_of(model, part, scores=False) for part in windows.split(step))
    return tuple(on_device_of(model, call) for call in calls)


@dataclass(frozen=True, eq=False)
class Text:
    """Windows of tokens, (n, length), and the dense model whose laws copies are compared with."""

    in_order: ClassVar[bool] = True

    windows: Tensor
    dense: nn.Module = field(repr=False)

    @classmethod
    def of(cls, model: nn.Module, windows: Any) -> Text:
        """Check the windows; InputError unless they are tokens that the model knows."""
        found = torch.as_tensor(windows)
        fits = found.ndim == 2 and found.shape[1] > 1 and not found.is_floating_point()
        seen = f"{found.dtype} of shape {tuple(found.shape)}"
        require(fits, "inputs", WHERE, "windows of tokens, whole numbers (n, length)", seen)
        check_tokens(model, found, WHERE)
        return cls(found.long().cpu(), model)

    @property
    def batches(self) -> tuple[Any, ...]:
        """What the model is called with to calibrate on."""
        return calls_for(self.dense, self.windows)

    @property
    def example(self) -> Any:
        """One window as the model is called with it."""
        return on_device_of(self.dense, calls_of(self.dense, self.windows[:1]))

    @cached_property
    def laws(self) -> list[NDArray[np.float16]]:
        """The dense model's logits of each window, less the largest, in the half of the room."""
        found = self._logits(self.dense)
        return [(x - x.max(1, keepdims=True)).astype(np.float16) for x in found]

    def scores(self, model: nn.Module) -> NDArray[np.float32]:
        """What each window tells of a model beside the dense one; see `window_figures`."""
        rows = [
            window_figures(law, logits, window[1:].numpy())
            for law, logits, window in zip(
                self.laws, self._logits(model), self.windows, strict=True
            )
        ]
        return np.array(rows, dtype=np.float32)

    def _logits(self, model: nn.Module) -> Iterator[NDArray[np.float32]]:
        with evaluating(model):
            for window in self.windows:
                yield token_scores(model, window)[:-1].float().cpu().numpy()
