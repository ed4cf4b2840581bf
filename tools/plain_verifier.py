"""A second verifier of certificates, written from docs/certificate-format.md in plain Python.

    python -I tools/plain_verifier.py CERT.json DATA

It takes the same arguments as `prunable.verify_certificate`, prints the same outcome and ends with
the same exit status, without numpy and without any line of it: a check of the specification, and
of the other. It is slow, for small data.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

MEANING = (
    "With probability at least 1 - delta over the draw of the training examples, the network that "
    "the code file decodes to errs on a new example with probability at most train.bound."
)
OF_NETWORK = (
    " If the network part holds a network's answers to inputs that served no choice, both claimed, "
    "that network errs with probability at most train.bound + network.bound, at 1 - 2 delta."
)
OF_TEST = " If the test examples served no choice, which is claimed, the same holds of test.bound."
PUBLIC = {
    "a49bc698d929bdfa4016fef52e9320c77d249e73f167db6b1c862cb1e87b73d9": ("mnist", "train"),
    "dc6500aab8194fa48e29a1918c59c8eb21656033814c406db930d3b8ece6e9d8": ("mnist", "test"),
    "f2ca195d0e5b0fcf8e2445cdf163bb87b5c579529497bbfae98a47102ade2b60": ("fashion-mnist", "train"),
    "1732c153edad47c7135da666f7cc9f2a702449a94be447603fe78510eac17fc3": ("fashion-mnist", "test"),
    "e7bcfe957d387660b6fecefb89a88acdc96fc0ec229aeec8a2a9c316276f1108": ("cifar10-jpeg", "train"),
    "3cafea7ad2e73faae04df3a43f8e1b89b3a2993c96f19dfd92c14f268dcbe46f": ("cifar10-jpeg", "test"),
}
STEPS, WORK = 1 << 24, 1 << 26

Picture = list[list[list[float]]]  # channel, row, column


class NotVerified(Exception):  # noqa: N818 - an outcome
    """Base of the three ways not to be verified."""

    status = 2


class Refuted(NotVerified):
    """The certificate says what is not so."""

    status = 1


class Malformed(NotVerified):
    """The certificate or its code file break the format."""


class Missing(NotVerified):
    """A file is not there."""

    status = 3


class Message:
    """The message of a code file: the file as a fraction, in an interval that narrows.

    The interval is [low, low + width) in units of 2^-scale.
    """

    def __init__(self, content: bytes) -> None:
        self.number, self.bits = int.from_bytes(content, "big"), 8 * len(content)
        self.low, self.width, self.scale = 0, 1 << 64, 64
        self.most = min((1 << 19) + 256 * len(content), STEPS)
        self.taken = 0

    def decision(self, p_one: int) -> int:
        """The next decision, whose probability of a 1 is p_one / 2^48."""
        self.taken += 1
        if self.taken > self.most:
            raise Malformed("too many decisions")
        border = self.low + (self.width * p_one >> 48)
        finer = self.scale - self.bits
        at = self.number << finer if finer >= 0 else self.number >> -finer
        found = int(at < border)
        end = self.low + self.width
        self.low, end = (self.low, border) if found else (border, end)
        self.width = end - self.low
        while self.width < 1 << 63:
            self.low, self.width, self.scale = 2 * self.low, 2 * self.width, self.scale + 1
        if self.scale > self.bits + 128:
            raise Malformed("the file ends within its message")
        return found

    def fixed(self, bits: int) -> int:
        """A number of so many bits, the highest first."""
        found = 0
        for _ in range(bits):
            found = 2 * found + self.decision(1 << 47)
        return found

    def positive(self) -> int:
        """A number of at least 1, in Elias' gamma code."""
        more = 0
        while self.decision(1 << 47):
            more += 1
            if more > 24:
                raise Malformed("a number above 2^24")
        found = (1 << more) + self.fixed(more)
        if found > 1 << 24:
            raise Malformed("a number above 2^24")
        return found

    def closed(self) -> bool:
        """Whether the file is the first of the shortest within the interval."""
        finer = self.scale - self.bits
        if finer < 0 or not self._holds(self.number, finer):
            return False
        if self.number and self._holds(self.number - 1, finer):
            return False
        shorter = finer + 8
        return not (self.bits and self._holds(-(-self.low >> shorter), shorter))

    def _holds(self, number: int, finer: int) -> bool:
        start, end = number << finer, number + 1 << finer
        return self.low <= start and end <= self.low + self.width


class Kind:
    """One kind of decision of a layer: experts, each with counts of its contexts."""

    def __init__(self, experts: int) -> None:
        self.trust = [1.0 / experts] * experts
        self.counts: list[dict[int, tuple[float, float]]] = [{} for _ in range(experts)]

    def decide(self, message: Message, contexts: list[int]) -> int:
        """Read one decision and learn from it."""
        guesses = []
        for counts, context in zip(self.counts, contexts, strict=True):
            ones, total = counts.get(context, (0.5, 1.0))
            guesses.append(ones / total)
        p_one = 0.0
        for trust, guess in zip(self.trust, guesses, strict=True):
            p_one += trust * guess
        lowest = 1 << 16
        found = message.decision(max(lowest, min((1 << 48) - lowest, math.floor(p_one * 2**48))))
        total_trust = 0.0
        for e, guess in enumerate(guesses):
            self.trust[e] = self.trust[e] * (guess if found else 1.0 - guess)
            total_trust += self.trust[e]
            ones, total = self.counts[e].get(contexts[e], (0.5, 1.0))
            self.counts[e][contexts[e]] = (ones + found, total + 1.0)
        self.trust = [trust / total_trust for trust in self.trust]
        return found


def read_integers(message: Message, shape: tuple[int, int, int, int], most: int) -> list[int]:
    """The integers of a layer, in the order (out, in, row, column)."""
    outs, ins, rows, columns = shape
    taps = rows * columns
    if outs * ins * taps > message.most - message.taken or outs + ins + taps > 1 << 18:
        raise Malformed("a layer larger than the file allows")
    kinds = [Kind(5 if taps > 1 else 3) for _ in range(10)]
    found: list[int] = []
    for o in range(outs):
        for i in range(ins):
            base = len(found)
            for row in range(rows):
                for column in range(columns):
                    place = row * columns + column
                    contexts = [0, o, i]
                    if taps > 1:
                        left = sign(found[base + place - 1]) if column else 0
                        above = sign(found[base + place - columns]) if row else 0
                        contexts += [place, 3 * left + above]
                    value = 0
                    if kinds[0].decide(message, contexts):
                        minus = kinds[1].decide(message, contexts)
                        value = 1
                        while value < most:
                            if not kinds[1 + min(value, 8)].decide(message, contexts):
                                break
                            value += 1
                        value = -value if minus else value
                    found.append(value)
    return found


def sign(value: int) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


def bank() -> list[list[float]]:
    """The 17 windows of an edge step, each row by row."""
    bell, slope, bend = (1, 4, 6, 4, 1), (-1, -2, 0, 2, 1), (-1, 0, 2, 0, -1)

    def grid(down: tuple[int, ...], along: tuple[int, ...]) -> list[int]:
        return [a * b for a in down for b in along]

    across, down, second = grid(bell, slope), grid(slope, bell), grid(slope, slope)
    bends = grid(bell, bend), grid(bend, bell)
    pairs = list(zip(*bends, second, strict=True))
    whole = [
        across,
        [a + b for a, b in zip(across, down, strict=True)],
        down,
        [b - a for a, b in zip(across, down, strict=True)],
        *bends,
        [a + b - 2 * c for a, b, c in pairs],
        [a + b + 2 * c for a, b, c in pairs],
    ]
    half = [[2 * value / sum(map(abs, window)) for value in window] for window in whole]
    mean = [value / 1024 for value in grid(bell, bell)]
    return [*half, *([-value for value in window] for window in half), mean]


def read_unit(message: Message) -> float:
    """One of 1024 steps, exact in a double."""
    place = message.fixed(10)
    return (16 + place % 16) * 2.0 ** (place // 16 - 44)


class Layer:
    """A step of the chain; weights None is a pooling, and `edged` one of the fixed bank.

    An `upright` step shears; those that make views are a property of the whole network.
    """

    def __init__(self, stride: int, pad: int, shape: tuple[int, int, int, int]) -> None:
        self.stride, self.pad, self.shape = stride, pad, shape
        self.weights: list[float] | None = None
        self.edged = self.upright = False
        self.biases: list[float] = []


class Network:
    """What a code file says, read and checked."""

    def __init__(self, content: bytes) -> None:
        message = Message(content)
        channels, height, width = self.sides = tuple(message.positive() for _ in range(3))
        self.classes = message.positive()
        self.normalised = message.fixed(1) == 1
        self.layers: list[Layer] = []
        self.mirrored = self.shifted = False
        steps, work, kind = message.positive(), 0, -1
        if steps > 1024:
            raise Malformed("too many steps")
        most_work = min((1 << 24) + (len(content) << 15), WORK)
        for step in range(steps):
            last, kind = step == steps - 1, message.fixed(2)
            number = message.positive() if kind == 3 else 0
            edged = number == 1
            if number > 4 or (edged and (channels > 16 or not self.normalised)):
                raise Malformed("an unknown kind of step")
            if number > 2:
                if step:
                    raise Malformed("a step of views that is not the first")
                self.mirrored, self.shifted = number == 3, number == 4
            if number > 1:
                work += self.pictures * channels * height * width * (1 + width)
                if work > most_work:
                    raise Malformed("too much work")
                self.layers.append(Layer(1, 0, (channels, channels, 1, 1)))
                self.layers[-1].upright = number == 2
                continue
            size = 5 if edged else message.positive() if kind != 2 else 0
            stride = message.positive() if kind == 0 else size if kind == 1 else 1
            units = 17 * channels if edged else channels if kind == 1 else message.positive()
            pad = size // 2 if kind in (0, 3) else 0
            window = (height, width) if kind == 2 else (size, size)
            layer = Layer(stride, pad, (units, channels, *window))
            out = [
                (side + 2 * pad - over) // stride + 1
                for side, over in zip((height, width), window, strict=True)
            ]
            if min(out) < 1:
                raise Malformed("a window larger than its picture")
            each = channels * window[0] * window[1] * (1 if kind == 1 else units)
            padded = channels * (height + 2 * pad) * (width + 2 * pad)
            work += self.pictures * (padded + each * out[0] * out[1])
            if work > most_work:
                raise Malformed("too much work")
            if edged:
                layer.edged, layer.biases = True, [0.0] * units
                layer.weights = [
                    value if own == c else 0.0
                    for own in range(channels)
                    for values in bank()
                    for c in range(channels)
                    for value in values
                ]
            elif kind != 1:
                most = message.positive()
                unit = 1.0 if self.normalised or last else read_unit(message)
                layer.weights = [q * unit for q in read_integers(message, layer.shape, most)]
                layer.biases = [0.0] * units
                if message.fixed(1):
                    most = message.positive()
                    unit = (1.0 if last else 0.25) if self.normalised else read_unit(message)
                    integers = read_integers(message, (units, 1, 1, 1), most)
                    layer.biases = [q * unit for q in integers]
            self.layers.append(layer)
            channels, (height, width) = units, out
        if not message.closed():
            raise Malformed("the file does not end with its message")
        if kind != 2 or channels != self.classes or self.classes < 2:
            raise Malformed("the chain does not end in its classes")

    @property
    def pictures(self) -> int:
        """How many the chain sees of an input."""
        return 4 if self.shifted else 2 if self.mirrored else 1

    def logits(self, x: Picture) -> list[float]:
        """One number a class, added up over the pictures that are seen."""
        seen = [x]
        if self.mirrored:
            seen.append([[row[::-1] for row in channel] for channel in x])
        elif self.shifted:
            seen = [rolled(x, down, along) for down in (1, -1) for along in (1, -1)]
        found = [0.0] * self.classes
        for picture in seen:
            found = [a + b for a, b in zip(found, self._of_one(picture), strict=True)]
        finite(found)
        return found

    def _of_one(self, x: Picture) -> list[float]:
        finite([value for channel in x for line in channel for value in line])
        for place, layer in enumerate(self.layers):
            last = place == len(self.layers) - 1
            if layer.upright:
                x = sheared(x)
            else:
                x = pooled(x, layer) if layer.weights is None else self._convolved(x, layer, last)
        return [channel[0][0] for channel in x]

    def _convolved(self, x: Picture, layer: Layer, last: bool) -> Picture:
        units, channels, rows, columns = layer.shape
        assert layer.weights is not None
        found = []
        for unit in range(units):
            start = unit * channels * rows * columns
            kernel = layer.weights[start : start + channels * rows * columns]
            found.append(
                [
                    [sum(map(float.__mul__, kernel, seen)) for seen in line]
                    for line in windows(x, layer)
                ]
            )
        flat = [value for channel in found for line in channel for value in line]
        finite(flat)
        scale = 1.0
        if self.normalised and not last:
            scale = math.sqrt(math.fsum(value * value for value in flat) / len(flat) + 1e-8)
        return [
            [
                [value / scale + bias if last else max(0.0, value / scale + bias) for value in line]
                for line in channel
            ]
            for channel, bias in zip(found, layer.biases, strict=True)
        ]


def finite(values: list[float]) -> None:
    """Refuse infinities and what is no number."""
    if not all(map(math.isfinite, values)):
        raise Malformed("numbers that are not finite")


def windows(x: Picture, layer: Layer) -> list[list[list[float]]]:
    """What each position sees, in the order of a kernel."""
    rows, columns = layer.shape[2:]
    height, width, pad = len(x[0]), len(x[0][0]), layer.pad
    found = []
    for top in range(-pad, height + pad - rows + 1, layer.stride):
        line = []
        for left in range(-pad, width + pad - columns + 1, layer.stride):
            line.append(
                [
                    channel[v][u] if 0 <= v < height and 0 <= u < width else 0.0
                    for channel in x
                    for v in range(top, top + rows)
                    for u in range(left, left + columns)
                ]
            )
        found.append(line)
    return found


def pooled(x: Picture, layer: Layer) -> Picture:
    """The largest of each window of each channel."""
    return [[[max(seen) for seen in line] for line in windows([channel], layer)] for channel in x]


def rolled(x: Picture, down: int, along: int) -> Picture:
    """A picture moved by at most a pixel; what leaves it at one border comes in at the other."""

    def turned(values: list[Any], by: int) -> list[Any]:
        return (
            [values[place - by] for place in range(len(values))]
            if by > 0
            else values[1:] + values[:1]
        )

    return [turned([turned(row, along) for row in channel], down) for channel in x]


def sheared(x: Picture) -> Picture:
    """An upright step: every row moves by its height above the centre times the slant."""
    height, width = len(x[0]), len(x[0][0])
    mass = [[sum(channel[i][j] ** 2 for channel in x) for j in range(width)] for i in range(height)]
    weight = math.fsum(map(math.fsum, mass)) + 1e-8
    row = math.fsum(i * math.fsum(line) for i, line in enumerate(mass)) / weight
    column = math.fsum(j * m for line in mass for j, m in enumerate(line)) / weight
    both = tall = 0.0
    for i, line in enumerate(mass):
        both += (i - row) * math.fsum((j - column) * m for j, m in enumerate(line))
        tall += (i - row) ** 2 * math.fsum(line)
    slant = both / (tall + weight / 100)
    found = []
    for channel in x:
        lines = []
        for i, line in enumerate(channel):
            move = slant * (i - row)
            whole = math.floor(move)
            share = move - whole
            seen = [line[j] if 0 <= j < width else 0.0 for j in range(whole, whole + width + 1)]
            lines.append([(1 - share) * a + share * b for a, b in pairwise(seen)])
        found.append(lines)
    return found


def upper(k: int, n: int, log_delta: float) -> float:
    """Largest p with log P[Bin(n, p) <= k] >= log_delta."""
    if k == n:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1)]
    low, high = k / n, 1.0
    for _ in range(80):
        p = (low + high) / 2
        if p in (low, high):
            break
        terms = [log + i * math.log(p) + (n - i) * math.log1p(-p) for i, log in enumerate(logs)]
        top = max(terms)
        tail = top + math.log(math.fsum(math.exp(term - top) for term in terms))
        low, high = (p, high) if tail >= log_delta else (low, p)
    return high


def read_array(path: Path, letter: str, shape: tuple[int, ...]) -> tuple[bytes, list[float]]:
    """Content and numbers of a .npy file, which must have a type and shape."""
    raw = content_of(path, 1 << 34)
    start = 10 + int.from_bytes(raw[8:10], "little")
    sides = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    header = f"{{'descr': '<{letter}', 'fortran_order': False, 'shape': ({sides}), }}"
    if raw[:8] != b"\x93NUMPY\x01\x00" or raw[10:start].rstrip() != header.encode():
        raise Refuted("other data")
    content, form = raw[start:], "f" if letter == "f4" else "q"
    if len(content) != struct.calcsize("<" + form) * math.prod(shape):
        raise Malformed(f"{path.name} has not the numbers that its header announces")
    return content, list(struct.unpack(f"<{math.prod(shape)}{form}", content))


class Data:
    """A folder of arrays, each read once: what is counted is what was hashed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: dict[str, tuple[bytes, list[float]]] = {}

    def array(self, name: str, letter: str, shape: tuple[int, ...]) -> tuple[bytes, list[float]]:
        """Content and numbers of an array of a type and shape."""
        if name not in self.read:
            self.read[name] = read_array(self.folder / f"{name}.npy", letter, shape)
        if len(self.read[name][1]) != math.prod(shape):
            raise Refuted("as many answers as inputs")
        return self.read[name]


def examined(network: Network, data: Data, part: str, said: Any, log_delta: float) -> Any:
    """Errors and bound by the data of a part."""
    n, (c, h, w) = said["n"], network.sides
    if type(n) is not int or n < 1:
        raise Refuted(f"{part}.n")
    inputs = "test" if part == "network" else part
    raw_x, x = data.array(f"x_{inputs}", "f4", (n, c, h, w))
    raw_y, y = data.array(f"y_{part}", "i8", (n,))
    digest = hashlib.sha256(f"x <f4 {n} {c} {h} {w}\n".encode() + raw_x)
    digest.update(f"y <i8 {n}\n".encode() + raw_y)
    name, of = ("own", part)
    if part != "network":
        name, of = PUBLIC.get(digest.hexdigest(), (name, of))
    identity = {"sha256": digest.hexdigest(), "data": f"{name} {of}"}
    if of != part or any(said[key] != value for key, value in identity.items()):
        raise Refuted("these are not the data that the certificate names")
    errors = 0
    for place, label in enumerate(y):
        if not 0 <= label < network.classes:
            raise Malformed("a label is no class")
        flat = x[place * c * h * w : (place + 1) * c * h * w]
        rows = [flat[start : start + w] for start in range(0, len(flat), w)]
        logits = network.logits([rows[start : start + h] for start in range(0, c * h, h)])
        mine = logits[int(label)]
        others = max(value for k, value in enumerate(logits) if k != label)
        errors += not mine - others > 1e-9 * max(map(abs, logits))
    return {"n": n, "errors": errors, "bound": upper(errors, n, log_delta), **identity}


def differ(said: Any, found: Any) -> bool:
    """Whether two JSON values differ; floats by more than 1e-12."""
    if type(said) is not type(found):
        return True
    if isinstance(found, dict):
        keys = said.keys() | found.keys()
        return any(k not in said or k not in found or differ(said[k], found[k]) for k in keys)
    return abs(said - found) > 1e-12 if isinstance(found, float) else bool(said != found)


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise Malformed("a key stands twice")
    return dict(pairs)


def content_of(path: Path, most: int) -> bytes:
    """A file's bytes, not too many."""
    if not path.is_file():
        raise Missing(str(path))
    with os.fdopen(
        os.open(path, getattr(os, "O_NONBLOCK", getattr(os, "O_BINARY", 0))), "rb"
    ) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise Malformed(f"{path} is too large")
        content = file.read(size + 1) or b""  # of a device that would wait
    if len(content) != size:
        raise Malformed(f"{path} is not as long as it says")
    return content


def verify(path: Path, folder: Path) -> dict[str, Any]:
    """The statement of a certificate, all of it computed."""
    raw = content_of(path, 1 << 16)
    if raw.count(b"{") + raw.count(b"[") > 200:
        raise Malformed("too many brackets")
    document = json.loads(raw.decode("utf-8"), object_pairs_hook=no_key_twice)
    json.dumps(document, allow_nan=False)
    known = ("prunable certificate 2", "prunable certificate 3")
    if document["format"] not in known or set(document) != {"format", "statement", "notes"}:
        raise Malformed("no certificate of this format")
    said, newer = document["statement"], document["format"] == known[1]
    delta, name = said["delta"], said["file"]
    if not 0 < delta < (0.5 if newer else 1) or float(f"{delta:.6g}") != delta:
        raise Malformed("delta")
    if Path(name).name != name:
        raise Malformed("the code file lies in another folder")
    content = content_of(path.with_name(name), 1 << 22)
    sha256 = hashlib.sha256(content).hexdigest()
    if said["sha256"] != sha256:
        raise Refuted("another code file")
    network, log_delta, data = Network(content), math.log(delta), Data(folder)
    bits = 8 * len(content)
    train = examined(network, data, "train", said["train"], log_delta - bits * math.log(2))
    test = said["test"]
    found = {
        "meaning": MEANING if test is None else MEANING + OF_TEST,
        "file": name,
        "sha256": sha256,
        "bits": bits,
        "delta": delta,
        "vacuous": train["bound"] >= 1 - 1 / len(set(data.read["y_train"][1])),
        "train": train,
        "test": test if test is None else examined(network, data, "test", test, log_delta),
    }
    if newer:
        if test is None:
            raise Malformed("a network part without a test part")
        found["meaning"] += OF_NETWORK
        found["network"] = examined(network, data, "network", said["network"], log_delta)
    if differ(said, found):
        raise Refuted("the statement differs")
    return found


def outcome(path: Path, folder: Path) -> tuple[int, dict[str, Any] | None]:
    """Exit status, and the statement if it is 0."""
    try:
        return 0, verify(path, folder)
    except NotVerified as error:
        return error.status, None
    except OSError:
        return Missing.status, None
    except Exception:
        return Malformed.status, None


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stdout if sys.argv[1:] == ["--help"] else sys.stderr)
        sys.exit(0 if sys.argv[1:] == ["--help"] else Malformed.status)
    status, statement = outcome(Path(sys.argv[1]), Path(sys.argv[2]))
    said = ("verified", "refuted", "malformed", "missing")[status]
    print(json.dumps({"outcome": said, "statement": statement}))
    sys.exit(status)
