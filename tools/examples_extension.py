"""Examples of docstrings, which stand there without a heading, get one on the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

FIRST = re.compile(r"(?m)(?<=\n\n)>>> ")


class Headed(griffe.Extension):
    """Makes each block of examples a section of numpydoc."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Put the heading before the first example."""
        del kwargs
        if obj.docstring is not None and "\nExamples\n---" not in obj.docstring.value:
            obj.docstring.value = FIRST.sub("Examples\n--------\n>>> ", obj.docstring.value, 1)
