"""Check a certificate from its files and the data alone: numpy, no other part of the package.

Usage: python -m prunable.verify_certificate CERT.json DATA, where DATA is a folder of IDX files
or an .npz of x_train, y_train, x_test, y_test. Exits with 0 if all is found again, else with 2.
"""

import gzip
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np


class Decoder:
    """Arithmetic decoder: the interval [low, low + width) 2^-scale narrows bit by bit."""

    def __init__(self, content: bytes) -> None:
        self.code, self.size = int.from_bytes(content, "big"), 8 * len(content)
        self.low, self.width, self.scale = 0, 1 << 64, 64
        self.weights, self.cells = {}, {}  # type: dict[int, Any], dict[Any, Any]

    def bit(self, p_one: int = 1 << 47) -> int:
        split, more = self.width * p_one >> 48, self.scale - self.size
        if more > 128:
            raise ValueError("the code file ends too early: it is truncated or altered")
        one = (self.code << more if more > 0 else self.code >> -more) < self.low + split
        self.low, self.width = (self.low, split) if one else (self.low + split, self.width - split)
        grow = 64 - self.width.bit_length()
        self.low, self.width, self.scale = self.low << grow, self.width << grow, self.scale + grow
        return int(one)

    def uniform(self, bits: int) -> int:
        return sum(self.bit() << place for place in reversed(range(bits)))

    def gamma(self) -> int:
        length = 0
        while self.bit():
            length += 1
        return (1 << length) + self.uniform(length)

    def step(self) -> float:
        place = self.uniform(10)
        return math.ldexp(1 + place % 16 / 16, place // 16 - 40)

    def mixed(self, kind: int, at: tuple[Any, ...]) -> int:
        """One decision of a kind by a Bayesian mixture of KT estimators, each in its context."""
        weights = self.weights.setdefault(kind, [1 / len(at)] * len(at))
        cells = [self.cells.setdefault((kind, *key), [0.5, 1.0]) for key in enumerate(at)]
        guesses, p_one, mass = [ones / total for ones, total in cells], 0.0, 0.0
        for weight, guess in zip(weights, guesses, strict=True):
            p_one += weight * guess
        found = self.bit(min(max(int(p_one * 2**48), 1 << 16), (1 << 48) - (1 << 16)))
        for e, guess in enumerate(guesses):
            weights[e] *= guess if found else 1.0 - guess
            mass += weights[e]
            cells[e][:] = cells[e][0] + found, cells[e][1] + 1.0
        weights[:] = [weight / mass for weight in weights]
        return found

    def levels(self, shape: tuple[int, int, int, int], largest: int) -> Any:
        """Integers of one layer: zero or not, sign, then magnitude in unary."""
        self.weights, self.cells, q = {}, {}, np.zeros(shape, dtype=np.int64)
        for o, i, v, u in np.ndindex(shape):
            left = int(np.sign(q[o, i, v, u - 1])) if u else 0
            above = int(np.sign(q[o, i, v - 1, u])) if v else 0
            at = (0, o, i, (v, u), (left, above))[: 5 if shape[2] * shape[3] > 1 else 3]
            if self.mixed(0, at):
                negative, value = self.mixed(1, at), 1
                while value < largest and self.mixed(1 + min(value, 8), at):
                    value += 1
                q[o, i, v, u] = -value if negative else value
        return q


def decode(content: bytes) -> tuple[list[Any], bool]:
    """Read (kind, side, stride, weights, biases) of every step, and if units are normalised."""
    d, chain = Decoder(content), []
    c, h, w, classes = (d.gamma() for _ in range(4))
    normalised, left = bool(d.bit()), d.gamma()
    while left:
        left, kind, weights, biases = left - 1, d.uniform(2), None, None
        size = d.gamma() if kind < 2 else 1
        stride = d.gamma() if kind == 0 else size
        units = d.gamma() if kind != 1 else c
        if kind != 1:
            largest = d.gamma()
            unit = d.step() if left and not normalised else 1.0
            shape = (units, c, size, size) if kind == 0 else (units, c, h, w)
            weights, biases = d.levels(shape, largest) * unit, np.zeros(units)
            if d.bit():
                largest = d.gamma()
                unit = (0.25 if left else 1.0) if normalised else d.step()
                biases = d.levels((units, 1, 1, 1), largest).ravel() * unit
        chain.append((kind, size, stride, weights, biases))
        pad, c = (size // 2 * 2 if kind == 0 else 0), units
        h, w = ((s + pad - size) // stride + 1 for s in (h, w)) if kind < 2 else (1, 1)
    unit = d.scale - d.size
    if unit < 0 or not d.low <= d.code << unit < d.code + 1 << unit <= d.low + d.width:
        raise ValueError("the code file does not end where its message does: truncated or altered")
    if (kind, units) != (2, classes):
        raise ValueError("the code file does not end in a dense layer of the classes")
    return chain, normalised


def logits(x: Any, chain: list[Any], normalised: bool) -> Any:
    for place, (kind, k, stride, weights, biases) in enumerate(chain, start=1):
        if kind == 1:
            h, w = (side // k for side in x.shape[2:])
            x = x[:, :, : h * k, : w * k].reshape(*x.shape[:2], h, k, w, k).max(axis=(3, 5))
            continue
        if kind == 0:
            x = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
            views = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
            x = np.tensordot(views[:, :, ::stride, ::stride], weights, ((1, 4, 5), (1, 2, 3)))
            x = x.transpose(0, 3, 1, 2)
        else:
            x = (x.reshape(len(x), -1) @ weights.reshape(len(weights), -1).T)[:, :, None, None]
        if normalised and place < len(chain):
            x = x / np.sqrt(np.square(x).mean(axis=(1, 2, 3), keepdims=True) + 1e-8)
        x = x + biases[:, None, None]
        x = np.maximum(x, 0) if place < len(chain) else x
    return x.reshape(len(x), -1)


def count_errors(x: Any, y: Any, chain: list[Any], normalised: bool) -> int:
    errors = 0  # examples whose class does not win clearly: a tie counts
    for start in range(0, len(y), 500):
        z = logits(x[start : start + 500].astype(np.float64), chain, normalised)
        if not np.isfinite(z).all():
            raise ValueError("the network gives logits that are NaN or infinite")
        at, scale = (np.arange(len(z)), y[start : start + 500]), np.abs(z).max(axis=1)
        mine, z[at] = z[at], -np.inf
        errors += int((mine - z.max(axis=1) <= 1e-9 * scale).sum())
    return errors


def binomial_upper(k: int, n: int, log_delta: float) -> float:
    """sup {p : P[Bin(n, p) <= k] >= delta}, by bisection on the summed logarithm."""
    low, high, i = k / n, 1.0, np.arange(k, 0, -1)
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    for _ in range(60 if k < n else 0):
        p = (low + high) / 2
        tail = math.log1p(float(np.cumprod(i * (1 - p) / ((n - i + 1) * p)).sum()))
        held = choose + k * math.log(p) + (n - k) * math.log1p(-p) + tail >= log_delta
        low, high = (p, high) if held else (low, p)
    return high


def read_data(source: Path, part: str) -> tuple[Any, Any]:
    if source.suffix == ".npz":
        return tuple(np.load(source)[f"{axis}_{part}"] for axis in "xy")
    found, prefix = [], source / {"train": "train", "test": "t10k"}[part]
    for name in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"):
        packed = Path(name + ".gz")
        raw = gzip.decompress(packed.read_bytes()) if packed.exists() else Path(name).read_bytes()
        shape = np.frombuffer(raw, ">u4", raw[3], offset=4)
        found.append(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape))
    return found[0][:, None].astype(np.float32) / np.float32(255), found[1].astype(np.int64)


def verify(path: Path | str, source: Path | str) -> dict[str, Any]:
    """Find every number of a certificate's statement again; stop at the first that differs."""

    def agree(name: str, said: Any, found: Any) -> None:
        if not (abs(said - found) <= 1e-9 if isinstance(found, float) else said == found):
            raise ValueError(
                f"{name}: the certificate says {said}, the files and the data give {found}"
            )

    statement: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))["statement"]
    content, delta = Path(path).with_name(statement["file"]).read_bytes(), statement["delta"]
    agree("0 < delta < 1", True, 0 < delta < 1)
    agree("sha256 of the code file", statement["sha256"], hashlib.sha256(content).hexdigest())
    agree("bits of the code file", statement["bits"], 8 * len(content))
    chain, normalised = decode(content)
    for part in ("train", "test") if statement["test"] else ("train",):
        (x, y), said = read_data(Path(source), part), statement[part]
        data = np.ascontiguousarray(x, "<f4").tobytes() + np.ascontiguousarray(y, "<i8").tobytes()
        agree(f"sha256 of the {part} data", said["sha256"], hashlib.sha256(data).hexdigest())
        agree(f"{part} examples", said["n"], len(y))
        errors = count_errors(x, y, chain, normalised)
        agree(f"{part} errors", said["errors"], errors)
        nats = (8 * len(content) if part == "train" else 0) * math.log(2) - math.log(delta)
        agree(f"bound from the {part} data", said["bound"], binomial_upper(errors, len(y), -nats))
    bound, guessing = statement["train"]["bound"], 1 - 1 / len(chain[-1][3])
    agree("vacuous", statement["vacuous"], bound >= guessing)
    return {"verified": True, "bound": bound, "vacuous": bound >= guessing}


if __name__ == "__main__":
    try:
        print(json.dumps(verify(Path(sys.argv[1]), Path(sys.argv[2]))))  # noqa: T201
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        print(json.dumps({"verified": False, "reason": str(error) or repr(error)}))  # noqa: T201
        sys.exit(2)
