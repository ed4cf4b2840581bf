"""`prunable evaluate`: how well a language model predicts a text."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prunable.experiments.evaluate.specs import EvaluationJob
from prunable.report import terminal
from prunable.report.options import Given, options_of


@options_of(EvaluationJob, without=["model"])
def evaluate(
    given: Given,
    model: Annotated[Path, typer.Argument(help="Folder of transformers, or GGUF.")],
    as_json: terminal.AsJson = False,
) -> None:
    """Measure the perplexity of a language model on a text.

    The text is read with the model's own tokenizer, in windows; each token of a window is
    predicted from those before it in the window.

    Example: prunable evaluate FOLDER --text test.txt --length 512 --windows 4
    """
    from prunable.experiments.evaluate.evaluating import evaluated
    from prunable.report.prune.pruned import evaluated_table

    job = EvaluationJob.create(model=model, **given)
    with terminal.progress("windows") as advance:
        document: dict[str, Any] = evaluated(
            job, lambda done, count: advance(done, count, "")
        ).to_dict()

    def show(console: Console) -> None:
        evaluated_table(document).print(console)

    terminal.emit(document, as_json, show)
