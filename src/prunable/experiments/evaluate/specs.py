"""What is evaluated, and how; this module is light."""

from pathlib import Path

from pydantic import Field

from prunable.runs.spec import Frozen


class EvaluationJob(Frozen):
    """What `evaluated` is asked to do; the fields are the options of `prunable evaluate`."""

    model: Path
    text: Path = Field(description="File of text in UTF-8.")
    length: int = Field(512, ge=2, description="Tokens of a window.")
    windows: int | None = Field(None, ge=1, description="How many, from the start; all by default.")
    stride: int | None = Field(
        None,
        ge=1,
        description="Tokens from one window to the next; the length by default, so that none "
        "is read twice.",
    )
