"""Tables and figures of four papers: settings, stages, published numbers and claims."""

from functools import cache
from importlib.resources import files

from prunable.experiments.reproduce.published import Published, read_published


@cache
def published(paper: str) -> Published:
    """The numbers that a paper prints, from its data file beside the packages of the papers."""
    return read_published(files(__name__) / f"{paper}.json")
