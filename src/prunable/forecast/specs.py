"""What the commands are asked; this module is light."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from prunable.runs.spec import Frozen

Speed = Literal["exact", "propagated"]


class Asked(Frozen):
    """What `forecast` and `advise` are asked alike; the fields are options of both."""

    net: str | None = Field(
        None, description="Architecture, if the file does not say; MODULE:FUNCTION of your own."
    )
    accuracy_inputs: int | None = Field(
        None, ge=1, description="Examples that accuracy was measured on."
    )
    methods: tuple[str, ...] = Field(
        (),
        description="Ways to prune, by default the usual ones: METHOD or METHOD/ALLOCATION, as "
        "magnitude/lamp, calibrated or unit, or a pattern as 2:4; between commas, or repeat.",
    )
    keep: tuple[float, ...] = Field(
        (), description="Shares to keep; by default ten or so from 0.9 to 0.05."
    )
    labels: bool = Field(True, description="Use classes y of the inputs where there.")
    calibrate: Path | None = Field(
        None, description="Other inputs, for ways that go by what flows into layers."
    )
    store: Path | None = Field(
        None, description="Folder to keep what was run; an interrupted one goes on."
    )
    device: str = Field(
        "auto", description="Where to compute: auto, cpu, cuda, or one of several, as cuda:1."
    )
    seed: int = Field(0, ge=0, description="Of everything random.")
    unpickle: bool = Field(
        False, description="Let a pickled model run its code; only if you trust it."
    )

    @property
    def names(self) -> list[str] | None:
        """The ways that are named, None for the usual ones."""
        found = [x for text in self.methods for x in text.split(",") if x]
        return found if self.methods else None


class TextAsked(Asked):
    """What `forecast` is asked of a language model."""

    text: Path | None = Field(
        None, description="Text to forecast a language model's perplexity from, in UTF-8."
    )
    length: int = Field(512, ge=2, description="Tokens of a window of --text.")
    windows: int = Field(8, ge=4, description="How many, spread evenly over --text.")
    perplexity: float | None = Field(
        None,
        gt=1,
        description="Known perplexity of the dense model; by default that of the windows.",
    )
    calibrate_size: int = Field(16, ge=4, description="Windows of a text to calibrate on.")
