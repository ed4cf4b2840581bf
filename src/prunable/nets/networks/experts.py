"""Stacks of experts' matrices: one parameter of a mixture, told by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Shape = tuple[int, ...]
Stack = Literal["out_in", "in_out"]

HOLDER = re.compile(r"experts|input_linear|output_linear")
DOWN = re.compile(r"down|w2|output")  # in names of stacks that give what the mixture gives
ROUTERS = ("router", "gate")
LONGEST_KERNEL = 16


def stack_of(name: str, shapes: Mapping[str, Shape]) -> Stack | None:
    """How a stack of experts is stored: (experts, out, in) or (experts, in, out); None of others.

    Models differ. A stack that holds gates and inputs together is twice as wide as the one beside
    it that leads back; else the width of the router tells, or the bias; else outputs are first.
    """
    *parents, leaf = re.split(r"[./]", name)
    place = next((i for i, part in enumerate(parents) if HOLDER.fullmatch(part)), None)
    shape = shapes[name]
    if place is None or len(shape) != 3 or any(part.isdigit() for part in parents[place:]):
        return None
    if leaf in ("weight", "kernel") and min(shape[1:]) < LONGEST_KERNEL:
        return None  # a convolution along one axis
    end = len(name) - len(re.split(r"[./]", name, maxsplit=place)[-1])
    beside = {n: s for n, s in shapes.items() if len(s) == 3 and n.startswith(name[:end])}
    for up, (_, a, b) in beside.items():
        for c, d in (s[1:] for n, s in beside.items() if DOWN.search(n[end:])):
            if not DOWN.search(up[end:]) and (2 * d, c) == (a, b):
                return "out_in"
            if not DOWN.search(up[end:]) and (d, 2 * c) == (a, b):
                return "in_out"
    inputs = [shapes.get(f"{name[:end]}{router}.weight", ()) for router in ROUTERS]
    width = next((s[1] for s in inputs if len(s) == 2 and s[0] == shape[0]), None)
    first, last = shape[1:] if DOWN.search(name[end:]) else shape[:0:-1]
    if width in (first, last) and first != last:
        return "out_in" if width == first else "in_out"
    bias = shapes.get(f"{name}_bias", ())
    in_out = len(bias) == 2 and bias[1] == shape[2] != shape[1]
    return "in_out" if in_out else "out_in"
