"""A language model evaluated on a text, with the protocol beside the number."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prunable.arguments import checked
from prunable.experiments.evaluate.specs import EvaluationJob
from prunable.nets.measure.perplexity import Perplexity, perplexity
from prunable.nets.models.hub import load_folder
from prunable.nets.models.texts import tokenizer_of, tokens_of, windows_of


@dataclass(frozen=True)
class Evaluation(Perplexity):
    """The perplexity of a language model on a text, and how it was measured."""

    model: str
    text: str
    n_tokens_of_text: int
    tokenizer: str


@checked("evaluate")
def evaluate(
    model: Path | str,
    text: Path | str,
    *,
    length: int = 512,
    windows: int | None = None,
    stride: int | None = None,
) -> Evaluation:
    """Measure the perplexity of a language model, a folder of transformers or GGUF, on a text.

    The file, in UTF-8, is read whole by the model's own tokenizer, and cut into windows from its
    start, all of them or so many. See `perplexity` for what is scored.

    Raises InputError if there is no tokenizer, the text is too short, or the windows are too long.

    >>> import pathlib, tempfile, transformers, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sizes = {"n_embd": 8, "n_layer": 1, "n_head": 1, "bos_token_id": 0, "eos_token_id": 0}
    ...     config = transformers.AutoConfig.for_model("gpt2", vocab_size=384, **sizes)
    ...     model = transformers.AutoModelForCausalLM.from_config(config)
    ...     _ = model.save_pretrained(folder + "/model")
    ...     _ = transformers.ByT5Tokenizer().save_pretrained(folder + "/model")
    ...     _ = pathlib.Path(folder, "text.txt").write_text("a text of its own" * 10)
    ...     prunable.evaluate(folder + "/model", folder + "/text.txt", length=32).n_tokens_of_text
    171
    """
    return evaluated(
        EvaluationJob.create(
            model=Path(model), text=Path(text), length=length, windows=windows, stride=stride
        )
    )


def evaluated(
    job: EvaluationJob, on_window: Callable[[int, int], None] | None = None
) -> Evaluation:
    """What a job finds; see `evaluate` and `perplexity`."""
    tokenizer = tokenizer_of(job.model, "evaluate")
    tokens = tokens_of(tokenizer, job.text, "evaluate")
    windows = windows_of(tokens, job.length, job.windows, job.stride, "evaluate")
    found = perplexity(load_folder(job.model, "evaluate"), windows, job.stride, on_window)
    return Evaluation(
        **vars(found),
        model=str(job.model),
        text=str(job.text),
        n_tokens_of_text=len(tokens),
        tokenizer=type(tokenizer).__name__,
    )
