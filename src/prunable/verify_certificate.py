"""Check a certificate against whoever made it, from its files and the data alone.

Usage: python -I verify_certificate.py CERT.json DATA, a folder of the .npy files of its parts.
Exit status 0 verified, 1 refuted, 2 malformed, 3 missing. Rules: docs/certificate-format.md.
"""

import hashlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = "prunable certificate 2", "prunable certificate 3"  # which has a network part
MEANING = (  # the second sentence where there are test examples, the third in format 3
    "With probability at least 1 - delta over the draw of the training examples, the network that "
    "the code file decodes to errs on a new example with probability at most train.bound.",
    " If the test examples served no choice, which is claimed, the same holds of test.bound.",
    " If the network part holds a network's answers to inputs that served no choice, both claimed, "
    "that network errs with probability at most train.bound + network.bound, at 1 - 2 delta.",
)
G, D, S = np.array([[1, 4, 6, 4, 1], [-1, -2, 0, 2, 1], [-1, 0, 2, 0, -1.0]])  # Laws' masks
X, Y, P, Q, R = (np.outer(*k) for k in ((G, D), (D, G), (G, S), (S, G), (D, 2 * D)))
HALF = [k * 2 / np.abs(k).sum() for k in (X, X + Y, Y, Y - X, P, Q, P + Q - R, P + Q + R)]
BANK = np.array([*HALF, *(-k for k in HALF), np.outer(G, G) / 1024])[:, None]  # of step e5
OTHERS = "not verified: these are not the data that the certificate names"
PUBLIC = {
    "a49bc698d929bdfa4016fef52e9320c77d249e73f167db6b1c862cb1e87b73d9": "mnist train",
    "dc6500aab8194fa48e29a1918c59c8eb21656033814c406db930d3b8ece6e9d8": "mnist test",
    "f2ca195d0e5b0fcf8e2445cdf163bb87b5c579529497bbfae98a47102ade2b60": "fashion-mnist train",
    "1732c153edad47c7135da666f7cc9f2a702449a94be447603fe78510eac17fc3": "fashion-mnist test",
    "e7bcfe957d387660b6fecefb89a88acdc96fc0ec229aeec8a2a9c316276f1108": "cifar10-jpeg train",
    "3cafea7ad2e73faae04df3a43f8e1b89b3a2993c96f19dfd92c14f268dcbe46f": "cifar10-jpeg test",
}


def demand(holds: Any, reason: str, kind: type[Exception] = ValueError) -> Any:
    if not holds:
        raise kind(reason)


def finite(z: Any) -> Any:
    return demand(np.isfinite(z).all(), "the network gives numbers that are NaN or infinite") or z


def read(path: Path, most: int) -> bytes:  # a plain file; what turns into a pipe is not waited for
    wrong = f"{path.name!r:.80} has more than {most:,} bytes, or not as many as it says"
    demand(path.is_file(), f"{path.name!r:.80} is not there, or no plain file", FileNotFoundError)
    with os.fdopen(os.open(path, getattr(os, "O_NONBLOCK", getattr(os, "O_BINARY", 0))), "rb") as f:
        size = os.fstat(f.fileno()).st_size
        demand(size <= most and len(content := f.read(size + 1) or b"") == size, wrong)
    return content


def read_document(path: Path | str) -> Any:  # JSON whose brackets bound its depth, no key twice
    raw = read(Path(path), 1 << 16)
    once = lambda k: demand(len(dict(k)) == len(k), "a key stands twice") or dict(k)  # noqa: E731
    demand(raw.count(b"[") + raw.count(b"{") <= 200, "more than 200 brackets")
    found = json.loads(raw.decode(), object_pairs_hook=once)
    said = found.get("format") if isinstance(found, dict) else None
    demand(said in FORMATS, f"the format is {said!r:.80}, not of {FORMATS}: certify it anew")
    demand(found.keys() == {"format", "statement", "notes"}, "other than a statement and notes")
    json.dumps(found, allow_nan=False)  # or ValueError
    return found


class Network:
    def __init__(self, content: bytes) -> None:  # it lies `rest` above the low end of a `width`
        self.rest, self.width = int.from_bytes(content[:8].ljust(8, b"\0"), "big"), 1 << 64
        self.coming = (byte >> place & 1 for byte in content[8:] for place in range(7, -1, -1))
        self.seen, self.taken, self.steps = 1, 64, min((1 << 19) + (len(content) << 8), 1 << 24)
        self.size, most = 8 * len(content), min((1 << 24) + (len(content) << 15), 1 << 26)  # work
        c, h, w, self.classes = self.sides = tuple(self.gamma() for _ in range(4))
        self.normalised, self.chain, self.work = bool(self.bit()), list[Any](), 0
        for left in reversed(range(self.gamma())):
            kind = self.uniform(2)
            extra = self.gamma() if kind == 3 else 0  # edges, upright; at first mirrored, shifted
            known = [0, self.normalised and c <= 16, 2, 3, 4][: 3 if self.chain else 5]
            demand(extra in known and left < 1024, "an unknown kind of step, or too many of them")
            side = self.gamma() if kind < 2 else (0, 5, 1, 1, 1)[extra]
            stride = self.gamma() if kind == 0 else side if kind == 1 else 1
            pad, self.seen = side // 2 if kind in (0, 3) else 0, max(self.seen, 1 << extra >> 2)
            units = 1 if kind == 1 else (0, 17 * c, w, w, w)[extra] if extra else self.gamma()
            shape = (units, c, side or h, side or w)
            out = [(s + 2 * pad - k) // stride + 1 for s, k in zip((h, w), shape[2:], strict=True)]
            self.work += self.seen * (c * (h + 2 * pad) * (w + 2 * pad) + math.prod((*shape, *out)))
            demand(min(out) > 0 and self.work <= most, "the code file announces too much work")
            weights: Any = np.kron(np.eye(c)[..., None, None], BANK) if extra == 1 else None
            c, (h, w), biases = c if kind == 1 or extra > 1 else units, out, 0.0
            if kind in (0, 2):
                weights = self.tensor(shape, 1.0 if self.normalised or not left else None)
                unit = (0.25 if left else 1.0) if self.normalised else None
                biases = self.tensor((c, 1, 1, 1), unit)[:, 0] if self.bit() else 0.0
            self.chain += [(weights, shape, stride, [[0], [0], [pad], [pad]], biases, left, extra)]
        end, tail = self.taken - self.size, int.from_bytes(content[-1:], "big")
        first = end >= 0 and self.rest < 1 << end <= self.width - self.rest
        first = first and (self.rest - (tail << end)) % (256 << end) + (256 << end) > self.width
        demand(first and kind == 2 and c == self.classes > 1, "the code file is altered or cut")

    def bit(self, p_one: int = 1 << 47) -> int:
        self.steps, split = self.steps - 1, self.width * p_one >> 48
        one = self.rest < split
        self.width = split if one else self.width - split
        self.rest -= 0 if one else split
        while self.width < 1 << 63:
            self.width, self.rest = self.width << 1, self.rest << 1 | next(self.coming, 0)
            self.taken += 1
        demand(self.taken <= self.size + 128, "the code file is altered or cut")
        return int(demand(self.steps >= 0, "it takes more steps than its length allows") or one)

    def uniform(self, bits: int) -> int:
        return sum(self.bit() << place for place in reversed(range(bits)))

    def gamma(self) -> int:
        length = next((k for k in range(25) if not self.bit()), 25)
        found = (1 << length) + self.uniform(length)
        return int(demand(found <= 1 << 24, "the code file holds an integer above 2^24") or found)

    def mixed(self, kind: int, at: tuple[int, ...]) -> int:  # by KT estimators, each in a context
        weights = self.layer.setdefault(kind, [1 / len(at)] * len(at))
        cells = [self.layer.setdefault((kind, *k), [0.5, 1.0]) for k in enumerate(at)]
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

    def tensor(self, shape: tuple[int, ...], unit: float | None) -> Any:  # zero?, sign, size
        (outs, ins, height, width), largest = shape, self.gamma()
        place, taps = self.uniform(10) if unit is None else 0, height * width
        demand(outs * ins * taps <= self.steps and outs + ins + taps <= 1 << 18, "a huge layer")
        q, self.layer, signs = np.zeros((outs, ins, taps)), dict[Any, Any](), [0] * taps
        for o, i, t in np.ndindex(outs, ins, taps):
            left, above = t % width and signs[t - 1], signs[t - width] if t >= width else 0
            at = (0, o, i, t, 3 * left + above)[: 5 if taps > 1 else 3]
            size = self.mixed(0, at)
            signs[t] = size and 1 - 2 * self.mixed(1, at)
            while 0 < size < largest and self.mixed(1 + min(size, 8), at):
                size += 1
            q[o, i, t] = signs[t] * size
        return q.reshape(shape) * (unit or math.ldexp(1 + place % 16 / 16, place // 16 - 40))

    def errors(self, x: Any, y: Any) -> int:  # where the class does not win clearly: ties count
        errors, batch = 0, max(1, min(500, (1 << 22) // self.work))
        for start in range(0, len(y), batch):
            z = finite(x[start : start + batch].astype(np.float64))
            moved = [np.roll(z, (2 * i - 1, 2 * j - 1), (2, 3)) for i, j in np.ndindex(2, 2)]
            z = np.concatenate({1: [z], 2: [z, z[..., ::-1]], 4: moved}[self.seen])
            for weights, shape, stride, pads, biases, left, extra in self.chain:
                if extra == 2:  # rows move, so that rows and columns do not vary together
                    (i, j), mass = map(np.arange, z.shape[2:]), np.square(z).sum(1)
                    m = finite(mass.sum((1, 2)) + 1e-8)
                    v, u = i - (mass.sum(2) @ i / m)[:, None], j - (mass.sum(1) @ j / m)[:, None]
                    tall = np.einsum("nij,ni,ni->n", mass, v, v) + m / 100
                    moves = (np.einsum("nij,ni,nj->n", mass, v, u) / tall)[:, None] * v
                    hats = np.maximum(1 - abs(j[:, None] - j - moves[..., None, None]), 0)
                    z = (z.swapaxes(1, 2) @ hats).swapaxes(1, 2)
                z = np.lib.stride_tricks.sliding_window_view(np.pad(z, pads), shape[2:], (2, 3))
                z = z[:, :, ::stride, ::stride]
                if weights is None:
                    z = z.max(axis=(4, 5))
                    continue
                z = np.tensordot(z, weights, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
                if self.normalised and left:
                    z = z / np.sqrt(np.square(z).mean(axis=(1, 2, 3), keepdims=True) + 1e-8)
                z = np.maximum(finite(z + biases), 0 if left else -np.inf)
            z = finite(z.reshape(self.seen, -1, self.classes).sum(0))
            mine, scale = z[at := (np.arange(len(z)), y[start : start + batch])], abs(z).max(axis=1)
            z[at] = -np.inf
            errors += len(z) - int((mine - z.max(axis=1) > 1e-9 * scale).sum())
        return errors


def binomial_upper(k: int, n: int, log_delta: float) -> float:  # sup {p: P[Bin <= k] >= delta}
    low, high, i = k / n, 1.0, np.arange(k, 0, -1)
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    while low < (p := (low + high) / 2) < high:
        tail = math.log1p(float(np.cumprod(i * (1 - p) / ((n - i + 1) * p)).sum()))
        held = choose + k * math.log(p) + (n - k) * math.log1p(-p) + tail >= log_delta
        low, high = (p, high) if held else (low, p)
    return high


def compare(said: Any, found: Any, name: str) -> Any:  # the same values and types, floats to 1e-12
    if isinstance(found, dict) and isinstance(said, dict) and said.keys() == found.keys():
        return [compare(said[key], found[key], f"{name}.{key}") for key in found]
    kind = type(said) if type(said) is type(found) else None
    same = abs(said - found) <= 1e-12 if kind is float else kind and said == found
    return demand(same, f"{name}: {said!r:.80} is said, {found!r} is found", AssertionError)


@np.errstate(all="ignore")
def verify(path: Path | str, folder: Path | str) -> dict[str, Any]:
    """Make the statement of a certificate anew; an exception unless it is the same."""
    said, newer = (document := read_document(path))["statement"], document["format"] == FORMATS[1]
    name, delta, used = said["file"], said["delta"], 2 - (said["test"] is None) + newer
    demand(0 < delta < 1 - newer / 2 and delta == float(f"{delta:.6g}"), "delta is out of bounds")
    demand(name == Path(name).name, "the code file lies in another folder")
    content = read(Path(path).with_name(name), 1 << 22)
    bits, sha256 = 8 * len(content), hashlib.sha256(content).hexdigest()
    compare(said["sha256"], sha256, f"sha256 of {name!r:.80}")
    network, costs = Network(content), {"train": bits * math.log(2), "test": 0.0, "network": 0.0}
    found: dict[str, Any] = {"meaning": "".join(MEANING[:used]), "file": name, "sha256": sha256}
    found, files = found | {"bits": bits, "delta": delta, "test": None}, dict[str, bytes]()
    for part in list(costs)[:used]:  # files are read once: what is counted is what was hashed
        n, digest, arrays = said[part]["n"], hashlib.sha256(), []
        demand(type(n) is int and n > 0, OTHERS, AssertionError)
        axes = ("x_train" if part == "train" else "x_test", "<f4"), (f"y_{part}", "<i8")
        for (file, kind), shape in zip(axes, ((n, *network.sides[:3]), (n,)), strict=True):
            raw = files[file] = files.get(file) or read(Path(folder, f"{file}.npy"), 1 << 34)
            start = 10 + int.from_bytes(raw[8:10], "little")  # as numpy.save writes it, only so
            head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
            same = (raw[:8], raw[10:start].rstrip()) == (b"\x93NUMPY\1\0", head)
            demand(same, OTHERS, AssertionError)
            arrays += [np.frombuffer(raw, kind, -1, start).reshape(shape)]
            digest.update(f"{file[0]} {kind} {' '.join(map(str, shape))}\n".encode())
            digest.update(arrays[-1].data)
        (x, y), sha256 = arrays, digest.hexdigest()
        data = PUBLIC.get("" if part == "network" else sha256, f"own {part}")
        named = (said[part]["sha256"], said[part]["data"]) == (sha256, data) and data.endswith(part)
        demand(named, OTHERS, AssertionError)
        demand(y.min() >= 0 and y.max() < network.classes, "a label is no class of the network")
        bound = binomial_upper(k := network.errors(x, y), n, math.log(delta) - costs[part])
        found[part] = {"n": n, "errors": k, "bound": bound, "sha256": sha256, "data": data}
        found.setdefault("vacuous", bound >= 1 - 1 / len(np.unique(y)))  # of the first part
    compare(said, found, "statement")
    answer = {"verified": True, "bound": found["train"]["bound"], "vacuous": found["vacuous"]}
    return {**answer, "statement": found, "claimed": document["notes"]}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(sys.stderr.write(__doc__ or "") and 2)
    try:
        status, answer = 0, verify(*sys.argv[1:])
    except Exception as error:  # whatever else a hostile file may cause is no verification
        status = 1 if isinstance(error, AssertionError) else 3 if isinstance(error, OSError) else 2
        known = type(error) in (AssertionError, ValueError, FileNotFoundError)
        answer = {"verified": False, "reason": str(error) if known else f"{error!r:.200}"}
    answer["outcome"] = ("verified", "refuted", "malformed", "missing")[status]
    sys.exit(sys.stdout.write(json.dumps(answer) + "\n") and status)
