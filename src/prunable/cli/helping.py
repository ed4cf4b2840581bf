"""Help pages that are readable in any width: text that flows, names that are whole, plain types."""

import re
from inspect import cleandoc
from typing import Any

LONE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
LONG = 20  # characters of a type, from which on its choices may stand in several lines
LIST_OF = re.compile(r"<list\[(.*)\]>", re.IGNORECASE)


def readable(command: Any) -> Any:
    """The command, its help in whole paragraphs; options that may be repeated say so.

    Everything below a group likewise, if it is there already.
    """
    if command.help:
        command.help = LONE_BREAK.sub(" ", cleandoc(command.help))
    for option in command.params:
        text = getattr(option, "help", None)
        if text and getattr(option, "multiple", False) and not re.search("repeat|several", text):
            option.help = f"{text.rstrip('.')}; repeat for several."
    for inside in getattr(command, "commands", {}).values():
        readable(inside)
    return command


def prepare_pages() -> None:
    """Let names of options wrap rather than be cut, flags have no type, and lists that of an entry.

    What draws pages is imported by this, so that commands do not wait for it.
    """
    from typer import rich_utils

    drawing: Any = rich_utils
    for name in ("highlighter", "negative_highlighter"):
        setattr(drawing, name, _Whole(getattr(drawing, name)))
    if types := getattr(drawing, "types_highlighter", None):
        drawing.types_highlighter = _Types(types)


class _Whole:
    """A highlighter whose texts go on in the next line where they do not fit."""

    def __init__(self, inner: Any) -> None:
        self.inner = getattr(inner, "inner", inner)

    def __call__(self, text: Any) -> Any:
        shown = self.inner(text)
        shown.overflow = "fold"
        return shown


class _Types(_Whole):
    """The same for types: nothing for a flag, which takes none."""

    def __call__(self, text: Any) -> Any:
        plain = "" if text.plain == "<bool>" else LIST_OF.sub(r"<\1>", text.plain)
        text.plain = plain.replace("|", " | ") if len(plain) > LONG else plain
        return super().__call__(text)
