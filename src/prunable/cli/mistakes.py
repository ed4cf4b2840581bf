"""One message for whatever a user mistyped, in the words of the command line."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

# "`kappa` of `Keep` must ...": a parameter of the library and what takes it.
ONE_OF = re.compile(r"must be one of \(?(.*?)\)?; got (\S+?)[.;,]( |$)")
NAMED = re.compile(r"`([a-z_]+)` of `([A-Za-z_. -]+)`")
# Parameters that the command line names otherwise, in every command.
OPTIONS = {"kappa": "--keep", "share": "--energy", "size": "--calibrate-size"}
CHOICES = re.compile(r"(?:Value error, )?'([^']*)' is not one of (.*?)\.?$", re.DOTALL)


def usage_message(error: Any) -> str:
    """What a usage error of typer says, in one sentence, and the nearest thing that exists."""
    context, text = error.ctx, " ".join(error.format_message().split())
    name = getattr(error, "option_name", None)
    if text.startswith("No such option") and context is not None:
        flags = [flag for p in context.command.params if not p.hidden for flag in p.opts]
        where = context.command_path.partition(" ")[2] or "prunable"
        text = f"`{where}` has no option {name}."
        text += nearest(str(name), [flag for flag in flags if flag.startswith("--")])
    elif found := CHOICES.search(text):
        text = re.sub("Value error, ", "", text).rstrip(".") + "."
        text += nearest(found[1], re.findall(r"'([^']*)'", found[2]))
    elif "Input should be" in text:
        text = text.replace("Input should be a valid", "it must be a")
        text = re.sub(r", unable to parse string as an? \w+", "", text).rstrip(".") + "."
    elif not text.endswith((".", "?")):
        text += "."
    path = "prunable" if context is None else context.command_path
    return f"{text} See `{re.sub('^[^ ]+', 'prunable', path)} --help`."


def nearest(given: str, known: Iterable[str]) -> str:
    """A question that offers the nearest name there is; empty if none is near.

    >>> nearest("--kep", ["--eps", "--keep"])
    ' Did you mean --keep?'
    """
    found = get_close_matches(given, list(known), 1, 0.6)
    return f" Did you mean {found[0]}?" if found else ""


def in_words_of_options(text: str, command: Any, path: Sequence[str]) -> str:
    """An error of the library: parameters named as the command's options, the nearest choice."""
    shown = [p for p in command.params if p.opts[0].startswith("--") and not p.hidden]
    flags = {p.name: p.opts[0] for p in shown}

    def renamed(found: re.Match[str]) -> str:
        name = found[1]
        flag = OPTIONS.get(name)
        if flag not in flags.values():
            ending = [flags[known] for known in flags if known.endswith(f"_{name}")]
            flag = flags.get(name) or (ending[0] if len(ending) == 1 else None)
        return found[0] if flag is None else f"`{flag}` of `{' '.join(path)}`"

    text = NAMED.sub(renamed, text)
    if (found := ONE_OF.search(text)) and "Did you mean" not in text:
        text += nearest(found[2].strip("'"), re.split(r"'?, '?", found[1].strip("'")))
    return text
