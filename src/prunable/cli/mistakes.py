"""One message for whatever a user mistyped, in the words of the command line."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from prunable.errors import nearest
from prunable.report import terminal

# "`kappa` of `Keep` must ...": a parameter of the library and what takes it.
ONE_OF = re.compile(r"must be one of \(?(.*?)\)?; got (\S+?)[.;,]( |$)")
NAMED = re.compile(r"`([a-z_]+)` of `([A-Za-z_. -]+)`")
# Parameters that the command line names otherwise, in every command.
OPTIONS = {"kappa": "--keep", "share": "--energy", "size": "--calibrate-size", "dense": "--inputs"}
# Options of other commands, or of other programs, and what they are called here.
SAME = (
    ("--inputs", "--data", "--calibrate", "--dataset"),
    ("--keep", "--sparsity", "--kappa", "--amount", "--ratio", "--share"),
    ("--net", "--model", "--arch", "--architecture"),
    ("--at-most-loss", "--loss", "--tolerance"),
    ("--n-m", "--pattern", "--structured"),
    ("--accuracy", "--acc"),
)
# A parameter alone, or before what was given for it and, it may be, what takes it.
BARE = re.compile(r"`([a-z_]+)`( (?!of )\S+)?( of `[A-Za-z_. -]+`)?")
# What the example that a network is run on may have come from, and how it should be.
EXAMPLES = {
    "--example": "",
    "--inputs": " Give them under the name x, (n, ...) as the network takes them.",
    "--input-shape": " Give the sizes of one example as the network takes it, without the batch.",
    "--calibrate": "",
    "--data": "",
}
# Options of which less takes less memory.
SPARING = {"--memory", "--workers"}
CHOICES = re.compile(r"(?:Value error, )?'([^']*)' is not one of (.*?)\.?$", re.DOTALL)


def shortage_message(cause: BaseException, command: Any, path: Sequence[str]) -> str:
    """That memory ran out, and which options of the command ask for less."""
    from prunable.files import brief

    flags = [flag for p in getattr(command, "params", ()) for flag in p.opts if flag in SPARING]
    less = f", or give a smaller {' or '.join(flags)}" if flags else ""
    return (
        f"`{' '.join(path)}` ran out of memory ({brief(cause)}). Run it where there is more, or "
        f"raise its limit (ulimit -v){less}."
    )


def usage_message(error: Any) -> str:
    """What a usage error of typer says, in one sentence, and the nearest thing that exists."""
    context, text = error.ctx, " ".join(error.format_message().split())
    name = getattr(error, "option_name", None)
    if text.startswith("No such option") and context is not None:
        flags = [flag for p in context.command.params if not p.hidden for flag in p.opts]
        where = context.command_path.partition(" ")[2] or "prunable"
        text = f"`{where}` has no option {name}."
        long = [flag for flag in flags if flag.startswith("--")]
        near = _same(str(name), long) or nearest(str(name), long)
        of_commands = " Options of a command come after its name."
        text += of_commands if where == "prunable" and len(terminal.typed()) > 1 else near
    elif found := CHOICES.search(text):
        text = re.sub("Value error, ", "", text).rstrip(".") + "."
        text += nearest(found[1], re.findall(r"'([^']*)'", found[2]))
    elif "Input should be" in text:
        text = text.replace("Input should be a valid", "it must be a")
        text = re.sub(r", unable to parse string as an? \w+", "", text).rstrip(".")
        text = text.replace("must be a integer", "must be an integer") + _given(error)
    elif not text.endswith((".", "?")):
        text += "."
    path = "prunable" if context is None else context.command_path
    return f"{text} See `{re.sub('^[^ ]+', 'prunable', path)} --help`."


def _same(given: str, flags: Sequence[str]) -> str:
    """A question that offers what an option of this meaning is called here; empty if none is."""
    here = [flag for names in SAME if given in names for flag in names if flag in flags]
    kept = " It is the share that stays." if given in ("--sparsity", "--amount") and here else ""
    return f" Did you mean {here[0]}?{kept}" if here else ""


def _given(error: Any) -> str:
    """What was given for a number, and what to give; a sentence's end."""
    flag = error.param.opts[0] if error.param is not None and error.param.opts else ""
    words = list(terminal.typed())
    after = words[words.index(flag) + 1 :][:1] if flag in words else []
    if not after:
        return "."
    if after[0].startswith("--"):
        return f". Give {flag} one; {after[0]} came next."
    parts = [part for part in after[0].split(",") if part]
    each = " ".join(f"{flag} {part}" for part in parts)
    alone = f" Give each by itself: {each}." if len(parts) > 1 and error.param.multiple else ""
    return f"; got {after[0]}.{alone}"


def in_words_of_options(
    text: str, command: Any, path: Sequence[str], typed: Sequence[str] = ()
) -> str:
    """An error of the library: parameters named as the command's options, the nearest choice."""
    shown = [p for p in command.params if p.opts[0].startswith("--") and not p.hidden]
    flags = {p.name: p.opts[0] for p in shown}

    def renamed(found: re.Match[str]) -> str:
        name = found[1]
        flag = OPTIONS.get(name)
        if flag not in flags.values():
            ending = [flags[known] for known in flags if known.endswith(f"_{name}")]
            flag = (
                flags.get(name)
                or flags.get(name.removesuffix("s"))
                or (ending[0] if len(ending) == 1 else None)
            )
        return found[0] if flag is None else f"`{flag}` of `{' '.join(path)}`"

    def bare(found: re.Match[str]) -> str:
        name, given, taker = found[1], found[2] or "", found[3]
        before = [flag for flag, value in pairwise(typed) if value == given.strip()]
        flag = next((flag for flag in before if flag in flags.values()), flags.get(name))
        if flag is None or (taker and not given):
            return found[0]
        return f"`{flag}`{given}" + (f" of `{' '.join(path)}`" if taker else "")

    if text.startswith("`example` of shape") and "--example" not in typed:
        asked = [flag for flag in EXAMPLES if flag in typed]
        if asked:
            text = text.replace("`example`", f"`{asked[0]}`", 1).rstrip(".") + "."
            text += EXAMPLES[asked[0]]
    text = NAMED.sub(renamed, text).replace("; got None.", "; got nothing.")
    text = BARE.sub(bare, text)
    if (found := ONE_OF.search(text)) and "Did you mean" not in text:
        text += nearest(found[2].strip("'"), re.split(r"'?, '?", found[1].strip("'")))
    return text
