"""How well a language model predicts a text."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunable.errors import InputError
from prunable.nets.models.texts import calls_of, check_tokens
from prunable.nets.networks.examples import checked_run, evaluating, on_device_of, scores_of
from prunable.results import Result


@dataclass(frozen=True)
class Perplexity(Result):
    """The exponential of the mean negative log-likelihood of tokens, and how they were scored."""

    perplexity: float
    nats: float  # mean negative log-likelihood of a token
    n_tokens: int  # that were scored
    n_windows: int
    length: int  # tokens of a window
    # from the start of a window to that of the next; what windows have in common is scored once
    stride: int


def perplexity(
    model: nn.Module,
    windows: Tensor,
    stride: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Score each token of windows (n, length) but the first by what precedes it in its window.

    Of windows that overlap (a `stride` below their length) those after the first score their last
    `stride` tokens. Sums are of float64. `on_window` is told the windows done, and all.

    Raises InputError if tokens are out of the vocabulary, the model gives no scores of tokens, or
    there is no number among them.
    """
    check_tokens(model, windows, "perplexity")
    count, length = windows.shape
    stride = length if stride is None else stride
    total, scored = 0.0, 0
    with evaluating(model):
        for number, window in enumerate(windows):
            scores = token_scores(model, window)
            first = 1 if number == 0 else max(1, length - stride)
            losses = functional.cross_entropy(
                scores[first - 1 : -1].float(), window[first:].to(scores.device), reduction="none"
            )
            total += float(losses.sum(dtype=torch.float64))
            scored += len(losses)
            if on_window:
                on_window(number + 1, count)
    nats = total / scored
    if math.isnan(nats):
        raise InputError("The scores of the text are NaN: check that the network is whole.")
    value = math.exp(nats) if nats < 700 else math.inf
    return Perplexity(value, nats, scored, count, length, stride)


def token_scores(model: nn.Module, window: Tensor) -> Tensor:
    """What a model, as it is, gives for one window of tokens: (length, vocabulary).

    Raises InputError if these are no scores of tokens.
    """
    call = on_device_of(model, calls_of(model, window[None]))
    scores = scores_of(checked_run(model, call))
    if not isinstance(scores, Tensor) or scores.shape[:2] != (1, len(window)):
        name = type(model).__name__
        raise InputError(f"{name} gives no scores of tokens; give a language model.")
    return scores[0]
