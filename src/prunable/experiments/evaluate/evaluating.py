"""A language model evaluated on a text, with the protocol beside the number."""

from typing import Any

from prunable.experiments.evaluate.specs import EvaluationJob
from prunable.nets.measure.perplexity import perplexity
from prunable.nets.models.hub import load_folder
from prunable.nets.models.texts import tokenizer_of, tokens_of, windows_of


def evaluate_text(job: EvaluationJob) -> dict[str, Any]:
    """Measure the perplexity of a language model, a folder of transformers or GGUF, on a text.

    Gives model, text, perplexity, and the protocol: nats, n_tokens, n_windows, length, stride,
    n_tokens_of_text and tokenizer.

    Raises InputError if there is no tokenizer, or the text is too short.
    """
    tokenizer = tokenizer_of(job.model, "evaluate")
    tokens = tokens_of(tokenizer, job.text, "evaluate")
    windows = windows_of(tokens, job.length, job.windows, job.stride, "evaluate")
    found = perplexity(load_folder(job.model, "evaluate"), windows, job.stride)
    return {
        "model": str(job.model),
        "text": str(job.text),
        **found.to_dict(),
        "n_tokens_of_text": len(tokens),
        "tokenizer": type(tokenizer).__name__,
    }
