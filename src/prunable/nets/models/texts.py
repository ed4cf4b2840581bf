"""Texts as the tokens of a language model, in windows of one length."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunable.errors import DataIntegrityError, InputError, check_at_least, require
from prunable.files import os_errors_named
from prunable.nets.archive import open_archive
from prunable.nets.models.hub import is_hub_source, transformers_module


def tokenizer_of(source: Path | str, where: str) -> Any:
    """The tokenizer in a folder of transformers or a GGUF file; nothing is fetched.

    Raises InputError if there is none that transformers can read, DataIntegrityError if nothing
    is there, or a GGUF file is damaged.
    """
    source = Path(source)
    if not source.exists():
        raise DataIntegrityError(f"{source} is missing; check the path.")
    if not is_hub_source(source):
        raise InputError(
            f"`{where}` needs a tokenizer for a text, and {source} is no folder of transformers "
            "and no GGUF file. Give one of these."
        )
    transformers = transformers_module(where)
    file = {}
    if source.is_file():
        file["gguf_file"] = source.name
        with open_archive(source):  # refuses what is damaged before others read it
            pass
    place = source.parent if source.is_file() else source
    try:
        return transformers.AutoTokenizer.from_pretrained(
            place, local_files_only=True, trust_remote_code=False, **file
        )
    except Exception as error:  # a folder may make transformers raise nearly all kinds
        cause = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise InputError(
            f"{source} has no tokenizer that can be read ({cause}). Put the files of its "
            "tokenizer beside its weights."
        ) from error


def tokens_of(tokenizer: Any, text: Path | str, where: str) -> Tensor:
    """The tokens of a file of text in UTF-8, (n,), as the tokenizer gives them for the whole.

    Raises InputError if the file cannot be read, or is no text.
    """
    with os_errors_named("read", text):
        raw = Path(text).read_bytes()
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{text} of `{where}` is no text in UTF-8: {error}. Give one.") from error
    found = tokenizer(whole, verbose=False)["input_ids"]
    return torch.tensor(found, dtype=torch.long)


def windows_of(
    tokens: Tensor, length: int, count: int | None, stride: int | None = None, where: str = "text"
) -> Tensor:
    """The first windows of tokens, (count, length), each a stride after the one before.

    All whole ones without a count; one after the other without a stride.

    Raises InputError if there are not so many.

    >>> windows_of(torch.arange(7), 3, None).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    check_at_least(length, 2, "length", where)
    stride = length if stride is None else stride
    require(1 <= stride <= length, "stride", where, f"from 1 to the length, {length}", stride)
    there = 1 + (len(tokens) - length) // stride if len(tokens) >= length else 0
    wanted = max(count or 1, 1)
    if there < wanted:
        raise InputError(
            f"The text of `{where}` has {len(tokens):,} tokens, too few for {wanted:,} windows of "
            f"{length:,}: it holds {there:,}. Give a longer text, or fewer or shorter windows."
        )
    return tokens.unfold(0, length, stride)[: count or there].clone()


def drawn_tokens(model: nn.Module, count: int, length: int, seed: int) -> Tensor:
    """Tokens drawn from the whole vocabulary, each with the same chance, (count, length)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary_of(model), (count, length), generator=generator)


def vocabulary_of(model: nn.Module) -> int:
    """How many tokens a network knows; InputError if it takes none."""
    table: Any = getattr(model, "get_input_embeddings", lambda: None)()
    if not isinstance(getattr(table, "weight", None), Tensor):
        name = type(model).__name__
        raise InputError(f"{name} takes no tokens. Give inputs that it takes.")
    size: int = len(table.weight)
    return size


def check_tokens(model: nn.Module, tokens: Tensor, where: str) -> None:
    """Raise InputError if there are tokens that a network does not know, or more than it takes."""
    size = vocabulary_of(model)
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= size:
        raise InputError(
            f"`{where}` has the token {low if low < 0 else high}, out of the vocabulary of "
            f"{type(model).__name__}, 0 to {size - 1}. Use the network's own tokenizer."
        )
    most = _most_positions(model)
    if most is not None and tokens.shape[-1] > most:
        wanted = f"at most {most}, the positions that {type(model).__name__} has"
        raise InputError.parameter("length", where, wanted, tokens.shape[-1])


def _most_positions(model: nn.Module) -> int | None:
    text: Any = getattr(model, "config", None)
    text = text.get_text_config() if hasattr(text, "get_text_config") else text
    found = getattr(text, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def calls_of(model: nn.Module, windows: Tensor, *, scores: bool = True) -> dict[str, Any]:
    """What a language model is called with for windows of tokens.

    Without scores it gives those of the last token alone, where it can, to save time and room.
    """
    known = inspect.signature(model.forward).parameters
    options = {"use_cache": False} | ({} if scores else {"logits_to_keep": 1})
    return {"input_ids": windows} | {k: v for k, v in options.items() if k in known}
