"""The verifier against whoever makes certificates: mutants, hostile folders, budgets, its twin."""

import copy
import hashlib
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta

import prunable.verify_certificate as verifier
from prunable.certify.architecture import CodedArchitecture
from prunable.certify.certificate import certify_network, write_certificate
from prunable.certify.code_file import CodedLayer, CodedNetwork, decode_network, encode_network
from prunable.certify.coding.arithmetic import HALF, Encoder, code_positive, code_uniform
from prunable.certify.coding.levels import code_levels
from prunable.certify.examples import PARTS, Examples
from prunable.certify.verifying import MissingDataError, RefutedError, Verification, verify
from prunable.data.store import locate
from prunable.errors import DataIntegrityError, InputError
from prunable.numerics.randomness import rng

MUTANTS, FILES = 10_000, 1_000
SIDES, CLASSES = (2, 4, 4), 3
DATA = ("x_train", "y_train", "x_test", "y_test")
CHAINS = (
    *("d", "d4,d", "c3-2,m2,d", "c3s2-3,d4,d", "m2,c2-2,d", "c1-3,c2s3-2,m1,d2,d", "m2,e5,d"),
    *("u,c3-2,m2,d", "f,e5,m2,d", "f,u,c3s2-3,d4,d", "m2,u,c2-2,u,d", "s,e5,m2,c2-2,d"),
)


def network(text, seed, *, normalised=True, largest=2, density=0.6):
    normalised = normalised or "e5" in text
    architecture = CodedArchitecture.parse(text, SIDES, CLASSES, normalised=normalised)
    g = rng(seed, "verified network")
    layers = []
    for place, shape in enumerate(architecture.shapes):
        last = place == len(architecture.shapes) - 1
        weights = g.integers(-largest, largest + 1, shape) * (g.random(shape) < density)
        biases = g.integers(-3, 4, shape[0]) * (g.random() < 0.8)
        step = 0 if normalised or last else int(g.integers(560, 660))
        grid = 0 if normalised or not biases.any() else int(g.integers(560, 660))
        layers.append(CodedLayer(weights, biases, step, grid))
    return CodedNetwork(architecture, tuple(layers))


def examples(seed, n=12):
    g = rng(seed, "verified examples")
    return Examples(g.random((n, *SIDES)).astype(np.float32), g.integers(CLASSES, size=n))


def made(folder, text="c3-2,m2,d", seed=0, delta=0.05, held_out=True, asked=False, **options):
    """A certificate in a folder, with its data: the path of its JSON."""
    parts = examples(2 * seed), examples(2 * seed + 1, 9) if held_out else None
    notes = {"model": "net", "settings": {"lr": 0.1, "seeds": [1, 2]}, "random_labels": None}
    answers = rng(seed, "answers").integers(CLASSES, size=9) if asked else None
    certificate = certify_network(network(text, seed, **options), *parts, delta, notes, answers)
    path = folder / "cert.json"
    write_certificate(path, certificate)
    for part, found in zip(PARTS, parts, strict=False):
        if found is not None:
            found.save(folder, part)
    if asked:
        np.save(folder / "y_network.npy", answers)
    return path


def outcome(path, folder):
    """Exit status of the verifier, and the statement if it is 0; as its `main` has them."""
    try:
        return 0, verifier.verify(path, folder)["statement"]
    except AssertionError:
        return 1, None
    except OSError:
        return 3, None
    except Exception:
        return 2, None


def leaves(value, at=()):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        yield (*at, key)
        if isinstance(part, dict | list):
            yield from leaves(part, (*at, key))


def typed_mutants(value):
    """Values of the same and of other types, near and far."""
    yield from (None, True, False, 0, 1, -1, 0.0, 0.5, 1.0, "", "x", [], {}, [value], 10**30)
    yield from (-(2**63), 1e-300, 1e300, "\x1b[31m", "\u202e", "../cert.code", "mnist train")
    if isinstance(value, bool):
        yield from (not value, int(value), str(value))
    elif isinstance(value, int):
        yield from (value + 1, value - 1, 2 * value, -value, float(value), str(value), value + 0.5)
    elif isinstance(value, float):
        yield from (math.nextafter(value, 1), math.nextafter(value, 0), value + 1e-13, 1 - value)
        yield from (value * (1 + k) for k in (1e-9, 1e-6, -1e-6, 1e-3, -1e-3, 0.5, -0.5))
    elif isinstance(value, str):
        yield from (value + " ", value[:-1], value.upper(), value + "\0", value[::-1], value * 2)


def mutated(document, draw):
    """One field changed, left out, doubled or made up."""
    document = copy.deepcopy(document)
    *above, key = draw.choice(list(leaves(document)))
    place = document
    for step in above:
        place = place[step]
    kind = draw.random()
    if kind < 0.85:
        place[key] = draw.choice(list(typed_mutants(place[key])))
    elif kind < 0.9:
        del place[key]
    elif kind < 0.95 and isinstance(place, dict):
        place[draw.choice(("new", key + "_", "train", "test", "format"))] = draw.choice(
            (1, "x", {})
        )
    else:
        *other, last = draw.choice(list(leaves(document)))
        source = document
        for step in other:
            source = source[step]
        place[key] = copy.deepcopy(source[last])
    return document


def damaged(raw, draw):
    """Bytes with one change."""
    raw, at = bytearray(raw), draw.randrange(len(raw))
    kind = draw.randrange(4)
    if kind == 0:
        raw[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del raw[at : at + draw.randrange(1, 9)]
    elif kind == 2:
        raw[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
    else:
        raw[at:at] = raw[at : at + draw.randrange(1, 40)]
    return bytes(raw)


def test_no_mutant_of_a_certificate_says_anything_else(tmp_path):
    """One field, byte or number changed at a time: refused, or the same statement."""
    path, draw = made(tmp_path, "f,u,e5,m2,c1-2,d", asked=True), random.Random(1)
    document, arrays = json.loads(path.read_text()), sorted(tmp_path.glob("*.npy"))
    status, statement = outcome(path, tmp_path)
    assert status == 0
    seen = dict.fromkeys(range(4), 0)
    for place in range(MUTANTS):
        changed, content = path, json.dumps(mutated(document, draw)).encode()
        if place % 10 >= 7:
            changed = draw.choice((path, path.with_suffix(".code"), *arrays))
            content = damaged(changed.read_bytes(), draw)
        before = changed.read_bytes()
        changed.write_bytes(content)
        status, found = outcome(path, tmp_path)
        assert status or found == statement, (place, changed.name, content)
        seen[status] += 1
        changed.write_bytes(before)
    assert min(seen.values()) > 10, seen
    assert outcome(path, tmp_path) == (0, statement)


@pytest.mark.parametrize("asked", [False, True])
def test_every_leaf_of_the_statement_is_bound(tmp_path, asked):
    path = made(tmp_path, asked=asked)
    document, (_, statement) = json.loads(path.read_text()), outcome(path, tmp_path)
    for *above, key in leaves(document["statement"]):
        changed = copy.deepcopy(document)
        place = changed["statement"]
        for step in above:
            place = place[step]
        original = place[key]
        for value in typed_mutants(original):
            place[key] = value
            path.write_text(json.dumps(changed))
            status, found = outcome(path, tmp_path)
            assert status or found == statement, (above, key, value)
            # a number within the rounding of a bound is the same number
            near = isinstance(original, float) and isinstance(value, float)
            assert status or value == original or (near and abs(value - original) <= 1e-12)
    assert status


@pytest.mark.parametrize("change", ["order", "label", "pixel", "shape", "type", "constant"])
def test_other_data_are_not_the_data(tmp_path, change):
    path = made(tmp_path)
    x, y = (np.load(tmp_path / f"{axis}_train.npy") for axis in "xy")
    if change == "order":
        x, y = x[::-1], y[::-1]
    elif change == "label":
        y[0] = (y[0] + 1) % CLASSES
    elif change == "pixel":
        x[0, 0, 0, 0] = np.nextafter(x[0, 0, 0, 0], np.float32(2))
    elif change == "shape":
        x = x.reshape(len(x), 1, 8, 4)
    elif change == "type":
        x = x.astype(np.float64)
    else:
        x = np.zeros_like(x)
    np.save(tmp_path / "x_train.npy", np.ascontiguousarray(x))
    np.save(tmp_path / "y_train.npy", np.ascontiguousarray(y))
    with pytest.raises(AssertionError, match=verifier.OTHERS):
        verifier.verify(path, tmp_path)


def test_a_network_is_certified_through_another_that_answers_alike(tmp_path, tool):
    """Both parts have delta; the second counts answers that differ, and ties of the coded one."""
    path, plain = made(tmp_path, asked=True), tool("plain_verifier")
    status, found = outcome(path, tmp_path)
    assert (status, found) == plain.outcome(path, tmp_path)
    answers, x = np.load(tmp_path / "y_network.npy"), np.load(tmp_path / "x_test.npy")
    logits = network("c3-2,m2,d", 0).logits(torch.from_numpy(x)).numpy()
    top, second = np.sort(logits)[:, [-1, -2]].T
    differ = (logits.argmax(1) != answers) | (top - second <= 1e-9 * np.abs(logits).max(1))
    part = found["network"]
    assert (part["n"], part["errors"], part["data"]) == (9, differ.sum(), "own network")
    assert part["bound"] == pytest.approx(beta.ppf(1 - 0.05, differ.sum() + 1, 9 - differ.sum()))
    assert "1 - 2 delta" in found["meaning"]


@pytest.mark.parametrize("change", ["answer", "inputs", "format", "no test", "no answers"])
def test_answers_are_bound_to_the_test_inputs(tmp_path, change, tool):
    path, plain = made(tmp_path, asked=True), tool("plain_verifier")
    document, wanted = json.loads(path.read_text()), 1
    if change == "answer":
        answers = np.load(tmp_path / "y_network.npy")
        np.save(tmp_path / "y_network.npy", (answers + 1) % CLASSES)
    elif change == "inputs":
        np.save(tmp_path / "x_test.npy", np.zeros_like(np.load(tmp_path / "x_test.npy")))
    elif change == "format":
        document["format"] = verifier.FORMATS[0]
    elif change == "no test":
        document["statement"]["test"], wanted = None, 2
    else:
        (tmp_path / "y_network.npy").unlink()
        wanted = 3
    path.write_text(json.dumps(document))
    assert outcome(path, tmp_path) == plain.outcome(path, tmp_path) == (wanted, None)


def test_answers_without_test_inputs_are_refused():
    with pytest.raises(InputError, match="answers"):
        certify_network(network("d", 0), examples(0), None, 0.05, answers=np.zeros(9, int))


def test_what_is_counted_is_what_was_hashed(tmp_path, monkeypatch, tool):
    """Files that change between the one and the other: nothing is read twice."""
    path, plain = made(tmp_path, asked=True), tool("plain_verifier")
    arrays = {file: file.read_bytes() for file in tmp_path.glob("*.npy")}

    def put(content_of):
        for file, content in arrays.items():
            with file.open("r+b") as changed:  # in place, so that what is mapped changes too
                changed.write(content_of(content))

    def swapped(count):
        def counted(*given):
            put(lambda content: content[:128] + bytes(len(content) - 128))
            found = count(*given)
            put(bytes)
            return found

        return counted

    for module, name in ((verifier.Network, "errors"), (plain.Network, "logits")):
        monkeypatch.setattr(module, name, swapped(getattr(module, name)))
    for found_by in (outcome, plain.outcome):
        status, statement = found_by(path, tmp_path)
        assert status == 0
        assert not plain.differ(json.loads(path.read_text())["statement"], statement)


@pytest.mark.parametrize("n", [True, 1.0])
def test_a_number_of_examples_is_an_integer(tmp_path, n, tool):
    """Though the identity is formed with what the certificate says instead of it."""
    one = examples(0, 1)
    path = tmp_path / "cert.json"
    notes = {"random_labels": None}
    write_certificate(path, certify_network(network("d", 0), one, None, 0.05, notes))
    one.save(tmp_path, "train")
    document = json.loads(path.read_text())
    digest = hashlib.sha256(f"x <f4 {n} {' '.join(map(str, SIDES))}\n".encode())
    digest.update(one.arrays["x"].tobytes() + f"y <i8 {n}\n".encode() + one.arrays["y"].tobytes())
    document["statement"]["train"] |= {"n": n, "sha256": digest.hexdigest()}
    path.write_text(json.dumps(document))
    assert outcome(path, tmp_path) == tool("plain_verifier").outcome(path, tmp_path) == (1, None)


def test_classes_that_no_example_has_are_no_guesses(tmp_path, tool):
    """Of two labels guessing is wrong half the time, however many classes a file announces."""
    g = rng(3, "two labels")
    found = Examples(g.random((5000, *SIDES)).astype(np.float32), g.integers(2, size=5000))
    path = tmp_path / "cert.json"
    coded = network("d", 0, largest=1, density=0.05)
    write_certificate(path, certify_network(coded, found, None, 0.05, {"random_labels": None}))
    found.save(tmp_path, "train")
    plain, (status, statement) = tool("plain_verifier"), outcome(path, tmp_path)
    assert status == 0
    assert not plain.differ(statement, plain.outcome(path, tmp_path)[1])
    assert 1 / 2 <= statement["train"]["bound"] < 1 - 1 / CLASSES
    assert statement["vacuous"]


def test_two_parts_leave_some_confidence(tmp_path, tool):
    """The sum of both deltas is below 1, or the third sentence would say nothing."""
    with pytest.raises(InputError, match="1 - 2 delta"):
        made(tmp_path, asked=True, delta=0.5)
    path = made(tmp_path, asked=True, delta=0.499)
    assert outcome(path, tmp_path)[0] == 0
    document = json.loads(path.read_text())
    document["statement"]["delta"] = 0.5
    path.write_text(json.dumps(document))
    assert outcome(path, tmp_path) == tool("plain_verifier").outcome(path, tmp_path) == (2, None)


def test_the_network_part_says_what_its_inputs_must_not_have_served(tmp_path):
    """A network may agree with its student on inputs that it memorised, and nowhere else."""
    assert (
        "answers to inputs that served no choice"
        in outcome(made(tmp_path, asked=True), tmp_path)[1]["meaning"]
    )


def test_names_of_the_makers_do_not_read_like_our_sentences(tmp_path):
    """In quotes, and not for long."""
    path = made(tmp_path)
    text = "a.code (8 bits) errs on a new example with probability at most 0.10%. Else"
    path.with_suffix(".code").rename(tmp_path / text)
    document = json.loads(path.read_text())
    document["statement"]["file"] = text
    document["notes"] = {f"none. {text}": 1, "lr": 2, "\ud800": 3, "random_labels": None}
    path.write_text(json.dumps(document))
    answer = verifier.verify(path, tmp_path)
    said = str(Verification(path, answer["bound"], answer["vacuous"], answer))
    assert f"the network of {text!r} (" in said
    assert said.count("at most 0.10%") == 1
    claimed = said.partition("not checked: ")[2]
    assert claimed == f"{f'none. {text}'[:40]!r}, lr, '\\ud800', random_labels."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["cert.code", "x_train.npy", "y_test.npy"])
def test_a_pipe_is_no_file(tmp_path, name):
    path = made(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    assert outcome(path, tmp_path) == (3, None)


def npy(shape, kind="<f4", fortran=False, behind="", version=b"\1\0", content=None, end="\n"):
    """A .npy file whose header says something, with a content of zeros."""
    text = f"{{'descr': '{kind}', 'fortran_order': {fortran}, 'shape': {shape}, {behind}}}{end}"
    content = bytes(math.prod(shape) * int(kind[-1])) if content is None else content
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + content


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (npy((12,), "<i8"), 0),
        (npy((12,), "<i8", end=" " * 40 + "\n"), 0),
        (npy((12,), "<i8", fortran=True), 1),  # the same numbers, but not as numpy.save writes them
        (npy((12,), "=i8"), 1),
        (npy((12,), ">i8"), 1),
        (npy((12,), "<u8"), 1),
        (npy((12,), "<f8"), 1),
        (npy((12,), "<i8", version=b"\3\0"), 1),
        (npy((12,), "<i8", version=b"\1\1"), 1),
        (npy((12,), "<i8", behind="'x': 1"), 1),
        (npy((12,), "<i8", behind="'descr': '<f8'"), 1),
        (npy((12,), "<i8", behind="'shape': (1,)"), 1),
        (npy((12,), "<i8").replace(b"(12,)", b"[12,]"), 1),
        (npy((12,), "<i8").replace(b"(12,)", b"(0xc,)"), 1),
        (npy((12,), "<i8").replace(b"(12,)", b"(12L,)"), 1),
        (npy((12,), "<i8", content=bytes(97)), 2),
        (npy((12,), "<i8", content=bytes(88)), 2),
        (npy((1 << 40,), "<i8", content=bytes(96)), 1),
        (npy((12,), "<i8")[:20], 1),
        (npy((12,), "<i8")[:6], 1),
        (b"", 1),
        (b"PK\3\4" + bytes(60), 1),
    ],
)
def test_arrays_are_as_numpy_saves_them(tmp_path, tool, content, wanted):
    """A header has one text for one array, and nothing lies behind; both verifiers say so."""
    path = made(tmp_path)
    np.save(tmp_path / "y_train.npy", np.zeros(12, np.int64))
    document = json.loads(path.read_text())
    found = Examples(examples(0).x, np.zeros(12, np.int64))
    write_certificate(path, certify_network(network("c3-2,m2,d", 0), found, None, 0.05, {}))
    assert document["statement"]["train"]["n"] == 12
    (tmp_path / "y_train.npy").write_bytes(content)
    plain = tool("plain_verifier").outcome(path, tmp_path)
    assert (outcome(path, tmp_path)[0], plain[0]) == (wanted, wanted)


def beyond(steps=43, classes=CLASSES):
    """A network without a choice, whose logits are finite, and whose sums over two pictures not."""
    text = ",".join(["f", *["d1"] * steps, "d"])
    architecture = CodedArchitecture.parse(text, SIDES, classes, normalised=False)
    layers = [
        CodedLayer(np.full(shape, place > 0, int), np.full(shape[0], not place, int), 1023, 1023)
        for place, shape in enumerate(architecture.shapes)
    ]
    layers[-2] = replace(layers[-2], step=16 * 57 + 4)
    layers[-1] = replace(layers[-1], step=0, bias_step=0)
    return CodedNetwork(architecture, tuple(layers))


def test_logits_beyond_all_numbers_win_nothing(tmp_path, tool):
    """inf - inf is no number, and no number is below a margin: so none of these was an error."""
    path, plain, coded = made(tmp_path), tool("plain_verifier"), beyond()
    for steps in (42, 43):  # as far as numbers go, and beyond
        content = encode_network(beyond(steps))
        first, second = verifier.Network(content), plain.Network(content)
        x = examples(0).x
        if steps == 42:
            assert first.errors(x, examples(0).y) == 12
            assert 1e300 < second.logits(x[0].tolist())[0] < math.inf
        else:
            with pytest.raises(ValueError, match="NaN or infinite"), np.errstate(over="ignore"):
                first.errors(x, examples(0).y)
            with pytest.raises(plain.Malformed, match="not finite"):
                second.logits(x[0].tolist())
    with pytest.raises(InputError, match="finite"):
        certify_network(coded, examples(0), None, 0.05)
    document = json.loads(path.read_text())
    path.with_suffix(".code").write_bytes(content)
    bits, sha256 = 8 * len(content), hashlib.sha256(content).hexdigest()
    document["statement"] |= {"bits": bits, "sha256": sha256, "vacuous": False}
    for part, n, cost in (("train", 12, bits), ("test", 9, 0)):
        bound = verifier.binomial_upper(0, n, math.log(0.05) - cost * math.log(2))
        document["statement"][part] |= {"errors": 0, "bound": bound}
    path.write_text(json.dumps(document))
    assert outcome(path, tmp_path) == plain.outcome(path, tmp_path) == (2, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("text", ["m2,d", "m2,u,d", "d", "f,c3s2-3,d"])
def test_inputs_are_numbers(tmp_path, tool, text, value):
    """Whatever a maximum makes of what is no number, in one language or the other."""
    path, x = made(tmp_path, text), examples(0).x
    x[3, 1, 1, 2] = value
    np.save(tmp_path / "x_train.npy", x)
    digest = hashlib.sha256(f"x <f4 12 {' '.join(map(str, SIDES))}\n".encode() + x.tobytes())
    digest.update(b"y <i8 12\n" + examples(0).y.tobytes())
    document = json.loads(path.read_text())
    document["statement"]["train"]["sha256"] = digest.hexdigest()
    path.write_text(json.dumps(document))
    assert outcome(path, tmp_path) == tool("plain_verifier").outcome(path, tmp_path) == (2, None)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *((name, 2) for name in ("./cert.code", "sub/../cert.code", "../cert.code", "/etc/passwd")),
        *((name, 2) for name in ("cert.code/", "", ".", 5, None, True, ["cert.code"])),
        *((name, 3) for name in ("..", "cert.code\0", "a" * 300, "\ud800", "~", "-I", "*.code")),
    ],
)
def test_a_code_file_has_a_name_and_no_folder(tmp_path, tool, name, wanted):
    path = made(tmp_path)
    document = json.loads(path.read_text())
    document["statement"]["file"] = name
    path.write_text(json.dumps(document))
    plain = tool("plain_verifier").outcome(path, tmp_path)
    assert outcome(path, tmp_path) == plain == (wanted, None)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs files without a length")
@pytest.mark.parametrize("name", ["cert.json", "cert.code", "x_train.npy"])
@pytest.mark.parametrize(
    "target", ["/proc/self/maps", "/proc/self/pagemap", "/dev/zero", "/proc/kmsg"]
)
def test_files_are_read_as_far_as_they_are_long(tmp_path, tool, name, target):
    """A link to what has no length, or no end."""
    path = made(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(target)
    status, _ = outcome(path, tmp_path)
    assert status == tool("plain_verifier").outcome(path, tmp_path)[0] > 0


def test_a_forged_set_is_not_the_public_one(tmp_path):
    """Counts, bounds and digests agree with the folder; the name is the table's, the data not."""
    path = made(tmp_path)
    document = json.loads(path.read_text())
    document["statement"]["train"]["data"] = "mnist train"
    path.write_text(json.dumps(document))
    with pytest.raises(AssertionError, match=verifier.OTHERS):
        verifier.verify(path, tmp_path)


def test_training_examples_are_no_test_examples(monkeypatch):
    found = examples(0)
    monkeypatch.setitem(verifier.PUBLIC, found.sha256, "mnist train")
    assert found.name("train") == "mnist train"
    with pytest.raises(InputError, match="those of mnist train"):
        found.name("test")


@pytest.mark.skipif(locate("mnist") is None, reason="needs MNIST on this machine")
@pytest.mark.parametrize(
    ("part", "prefix", "n"), [("train", "train", 60_000), ("test", "t10k", 10_000)]
)
def test_identity_of_mnist_is_that_of_its_published_files(part, prefix, n):
    paths = locate("mnist").paths
    pixels, labels = (
        np.frombuffer(paths[f"{prefix}-{kind}"].read_bytes(), np.uint8, offset=start)
        for kind, start in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8))
    )
    digest = hashlib.sha256(f"x <f4 {n} 1 28 28\n".encode())
    digest.update((pixels.astype("<f4") / np.float32(255)).astype("<f4"))
    digest.update(f"y <i8 {n}\n".encode())
    digest.update(labels.astype("<i8"))
    assert verifier.PUBLIC[digest.hexdigest()] == f"mnist {part}"


def test_two_verifiers_agree_on_random_files(tmp_path, tool):
    plain, draw = tool("plain_verifier"), random.Random(2)
    seen = dict.fromkeys(range(4), 0)
    for place in range(FILES):
        text = CHAINS[place % len(CHAINS)]
        options = {"normalised": place % 4 < 3, "largest": 1 + place % 11, "density": draw.random()}
        tested, asked = place % 3 > 0, place % 3 == 1
        delta = 0.01 * (1 + place % (49 if asked else 60))
        path = made(tmp_path, text, place, delta, tested, asked, **options)
        code = path.with_suffix(".code")
        kind = place % 5
        document = json.loads(path.read_text())
        if kind == 1:
            document = mutated(document, draw)
        elif kind == 2:  # a code file of the adversary's, whose digest is right
            code.write_bytes(damaged(code.read_bytes(), draw))
        elif kind == 3:  # one that begins as it should, or like nothing
            start = code.read_bytes()[: draw.randrange(8)]
            code.write_bytes(start + draw.randbytes(draw.randrange(40)))
        if kind in (2, 3):
            content = code.read_bytes()
            document["statement"]["bits"] = 8 * len(content)
            document["statement"]["sha256"] = hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(document))
        mine, theirs = outcome(path, tmp_path), plain.outcome(path, tmp_path)
        assert mine[0] == theirs[0], (place, kind, mine, theirs)
        if mine[0] == 0:
            assert not plain.differ(mine[1], theirs[1])
            assert kind in (0, 1, 4)
        if kind in (2, 3):
            agree_about(code.read_bytes(), plain)
        seen[mine[0]] += 1
    assert min(seen[0], seen[1], seen[2]) > 50, seen


def agree_about(content, plain):
    """Three decoders accept the same files, and find the same weights in them."""
    found = []
    for decode in (decode_network, verifier.Network, plain.Network):
        try:
            found.append(decode(content))
        except (DataIntegrityError, InputError, ValueError, plain.NotVerified):
            found.append(None)
    mine, first, second = found
    assert (mine is None) == (first is None) == (second is None)
    if mine is not None:
        steps = [(step[0], layer) for step, layer in zip(first.chain, second.layers, strict=True)]
        for fixed in (values for values, layer in steps if layer.edged):
            assert np.array_equal(fixed.ravel(), next(s.weights for _, s in steps if s.edged))
        coded = [(a, s.weights) for a, s in steps if s.weights is not None and not s.edged]
        for a, (b, c) in zip(mine.weights, coded, strict=True):
            assert a.tobytes() == b.tobytes() == np.array(c).tobytes()


HOSTILE = (
    *("gzip", "pickle", "json", "zipfile", "hashlib", "math", "pathlib", "random", "struct"),
    *("torch", "typing", "io", "collections", "functools", "sitecustomize", "usercustomize"),
    *("numpy/__init__", "scipy/__init__", "prunable/__init__", "encodings/__init__"),
)


@pytest.fixture
def hostile(tmp_path):
    """A folder of a certificate and modules that say so when they are imported."""
    path, marker = made(tmp_path), tmp_path / "imported"
    for name in HOSTILE:
        text = f"open({str(marker)!r}, 'a').write('{name}'); print('verified'); raise SystemExit(0)"
        place = tmp_path / f"{name}.py"
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    (tmp_path / "hostile.pth").write_text(f"import sys; open({str(marker)!r}, 'a').write('pth')")
    return path, marker


def run_verifier(path, folder, **options):
    command = [sys.executable, "-I", verifier.__file__, str(path), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("notes", "said", "wanted"),
    [
        (None, "nothing", 0),  # notes may be any JSON, where the data are given
        ([1, {"dataset": "mnist"}], "notes", 0),
        ("verified", "notes", 0),
        ({"settings": {"data": {"name": "mnist"}}, "\u202e": 1}, "settings, '\\u202e'", 0),
        ({"random_labels": -1}, "random_labels is -1", 3),
        ({"random_labels": "x" * 9000}, "random_labels is", 3),
    ],
)
def test_notes_say_nothing_of_data_that_are_given(tmp_path, notes, said, wanted):
    """A certificate, linked from elsewhere: its code file lies beside the link, as it is named."""
    path, data = made(tmp_path), tmp_path / "data.npz"
    np.savez(data, **{a: np.load(tmp_path / f"{a}.npy") for a in DATA})
    path.write_text(json.dumps({**json.loads(path.read_text()), "notes": notes}))
    (tmp_path / "folder").mkdir()
    path = path.rename(tmp_path / "folder" / "real.json")
    (tmp_path / "cert.json").symlink_to(path)
    try:
        status, text = 0, str(verify(tmp_path / "cert.json", data))
    except DataIntegrityError as error:
        status, text = error.exit_code, str(error)
    assert (status, said in text, len(text) < 1000) == (wanted, True, True)


@pytest.mark.parametrize("name", ["mnist" * 10_000, "https://elsewhere/x", "../x", "a:b", "\x1b"])
def test_a_certificate_names_registered_data_alone(tmp_path, name):
    path = made(tmp_path)
    document = json.loads(path.read_text())
    document["notes"]["dataset"] = name
    path.write_text(json.dumps(document))
    with pytest.raises(MissingDataError) as found:
        verify(path)
    assert len(str(found.value)) < 1000


def forge(path):
    document = json.loads(path.read_text())
    document["statement"]["train"]["bound"] = 0.001
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("forged", [False, True])
def test_nothing_is_imported_from_where_the_certificate_lies(hostile, forged):
    path, marker = hostile
    if forged:
        forge(path)
    home = {"PYTHONPATH": str(path.parent), "PYTHONUSERBASE": str(path.parent)}
    environment = {**os.environ, **home, "PYTHONSTARTUP": "json.py", "PYTHONHOME": ""}
    status, answer = run_verifier(path.name, ".", cwd=path.parent, env=environment)
    assert not marker.exists()
    assert status == int(forged)
    assert answer["outcome"] == ("refuted" if forged else "verified")


@pytest.mark.parametrize("forged", [False, True])
def test_the_command_imports_nothing_from_there_either(hostile, forged, tmp_path_factory):
    """As an installed script runs: its own folder is on the path, the working directory is not."""
    path, marker = hostile
    data, elsewhere = path.parent / "data.npz", tmp_path_factory.mktemp("bin")
    np.savez(data, **{a: np.load(path.parent / f"{a}.npy") for a in DATA})
    if forged:
        forge(path)
    script = elsewhere / "prunable"
    script.write_text("from prunable.cli.app import main\nmain()\n")
    command = [sys.executable, str(script), "verify", path.name, "--data", data.name, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
    assert not marker.exists()
    assert done.returncode == int(forged), done.stderr
    assert json.loads(done.stdout)["verified"] is not forged


@pytest.mark.parametrize("name", ["PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "PYTHONHOME"])
def test_another_python_is_not_started(tmp_path, monkeypatch, name):
    """CPython looks for its library beside what these name, isolated or not."""
    path, data, home = made(tmp_path), tmp_path / "data.npz", tmp_path / "home"
    np.savez(data, **{a: np.load(tmp_path / f"{a}.npy") for a in DATA})
    encodings = home / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/encodings"
    encodings.mkdir(parents=True)
    (encodings.parent / "os.py").touch()
    (home / "pyvenv.cfg").write_text(f"home = {home}\n")
    (encodings / "__init__.py").write_text("import posix; posix._exit(0)")
    monkeypatch.setenv(name, str(home / "python"))
    assert verify(path, data).answer["outcome"] == "verified"
    forge(path)
    with pytest.raises(RefutedError, match="is said"):
        verify(path, data)


def test_statuses_are_those_of_outcomes(tmp_path):
    path = made(tmp_path)
    assert run_verifier(path, tmp_path)[0] == 0
    (tmp_path / "y_test.npy").unlink()
    status, answer = run_verifier(path, tmp_path)
    assert (status, answer["outcome"], answer["verified"]) == (3, "missing", False)
    path.write_text("{")
    assert run_verifier(path, tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 30_000 + "]" * 30_000, "more than 200 brackets"),
        ('{"a":' * 201, "more than 200 brackets"),
        ("x" * 70_000, "has more than 65,536 bytes"),
        ('{"format": 1, "format": 2}', "a key stands twice"),
        ('{"format": "prunable certificate 1"}', "'prunable certificate 1', not of "),
        ('{"format": "prunable certificate 2"}', "other than a statement and notes"),
        ("[1]", "the format is None"),
        ("9" * 5000, "digits"),
        ("\ud800".encode("utf-8", "surrogatepass"), "can't decode"),
        ("nothing", "Expecting value"),
    ],
)
def test_documents_of_other_kinds_are_malformed(tmp_path, content, reason):
    path = tmp_path / "cert.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=reason):
        verifier.read_document(path)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_malformed(tmp_path, constant):
    path = made(tmp_path)
    path.write_text(path.read_text().replace('"lr": 0.1', f'"lr": {constant}'))
    with pytest.raises(ValueError, match="not JSON compliant"):
        verifier.verify(path, tmp_path)


def header(sides=(1, 28, 28), units=10, *, conv=(), pool=0, tail=bytes(400)):
    """A file that announces a step and goes on with anything."""
    encoder = Encoder()
    for side in (*sides, 10):
        code_positive(encoder, side)
    encoder.code(1, HALF)
    code_positive(encoder, 2)
    code_uniform(encoder, 1 if pool else 0 if conv else 2, 2)
    for value in (pool,) if pool else (*conv, units):
        code_positive(encoder, value)
    code_positive(encoder, 3)
    return encoder.finish() + tail


@pytest.mark.parametrize(
    "content",
    [
        header(units=1 << 24),
        header(units=1 << 12),
        header((1 << 24, 1, 1), units=1),
        header((1, 1 << 12, 1 << 12)),
        header((1 << 20, 1 << 20, 1 << 20)),
        header(conv=(1 << 24, 1)),
        header(conv=(3001, 1), units=1),
        header(conv=(5, 1), units=1 << 18),
        header(pool=29),
        header(units=1 << 12, tail=b"\xff" * 4000),
    ],
)
def test_what_a_header_announces_is_not_taken(content, tool):
    """No array is made: these end before a gigabyte could be asked for, in all three."""
    plain = tool("plain_verifier")
    for decode, kind in (
        (verifier.Network, ValueError),
        (decode_network, DataIntegrityError),
        (plain.Network, plain.Malformed),
    ):
        with pytest.raises(kind):
            decode(content)


def extended(*numbers, channels=1, normalised=1, side=4):
    """A file of extended steps and a dense one, all of whose integers are 0."""
    encoder = Encoder()
    for length in (channels, side, side, 2):
        code_positive(encoder, length)
    encoder.code(normalised, HALF)
    code_positive(encoder, len(numbers) + 1)
    for number in numbers:
        code_uniform(encoder, 3, 2)
        code_positive(encoder, number)
        channels *= 17 if number == 1 else 1
    code_uniform(encoder, 2, 2)
    for value in (2, 1):
        code_positive(encoder, value)
    code_levels(encoder, None, (2, channels, side, side), 1)
    encoder.code(0, HALF)
    return encoder.finish()


def test_four_extended_steps_are_known_and_others_are_malformed(tool):
    plain = tool("plain_verifier")
    known = {(1,): "e5,d", (2,): "u,d", (3,): "f,d", (4, 2, 1): "s,u,e5,d", (2, 2): "u,u,d"}
    for numbers, text in known.items():
        agree_about(extended(*numbers), plain)
        assert decode_network(extended(*numbers)).architecture.text == text
    agree_about(extended(1, channels=16), plain)
    agree_about(extended(3, 2, channels=17, normalised=0), plain)
    refused = (
        *(extended(5), extended(7), extended(1, channels=17), extended(1, normalised=0)),
        *(extended(2, 3), extended(2, 4), extended(3, 4)),  # views that are not the first step
    )
    for content in refused:
        with pytest.raises(DataIntegrityError):
            decode_network(content)
        with pytest.raises(ValueError, match="unknown kind of step"):
            verifier.Network(content)
        with pytest.raises(plain.Malformed, match=r"unknown kind|not the first"):
            plain.Network(content)


@pytest.mark.parametrize(("steps", "known"), [(1023, True), (1024, False)])
def test_steps_are_counted(steps, known, tool):
    """A pooling of one pixel takes three bits, and changes nothing."""
    encoder, plain = Encoder(), tool("plain_verifier")
    for value in (1, 1, 1, 2):
        code_positive(encoder, value)
    encoder.code(1, HALF)
    code_positive(encoder, steps + 1)
    for _ in range(steps):
        code_uniform(encoder, 1, 2)
        code_positive(encoder, 1)
    code_uniform(encoder, 2, 2)
    for value in (2, 1):
        code_positive(encoder, value)
    code_levels(encoder, None, (2, 1, 1, 1), 1)
    encoder.code(0, HALF)
    content = encoder.finish()
    agree_about(content, plain)
    if known:
        assert decode_network(content).architecture.text == ",".join(["m1"] * steps + ["d"])
        return
    for decode in (decode_network, verifier.Network, plain.Network):
        with pytest.raises((DataIntegrityError, ValueError, plain.Malformed), match="too many"):
            decode(content)
    architecture = CodedArchitecture.parse(",".join(["m1"] * steps + ["d"]), (1, 1, 1), 2)
    layer = CodedLayer(np.ones((2, 1, 1, 1), np.int64), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="within the limits of the format"):
        encode_network(CodedNetwork(architecture, (layer,)))


@pytest.mark.parametrize(("numbers", "side"), [((2,), 257), ((3, 2), 163), ((4,), 163)])
def test_moving_pictures_has_its_budget(numbers, side, tool):
    """Side^2 (side + 1) for each picture and step, of 2^24 and something; in all three."""
    plain = tool("plain_verifier")
    for decode, kind in (
        (verifier.Network, ValueError),
        (decode_network, DataIntegrityError),
        (plain.Network, plain.Malformed),
    ):
        with pytest.raises(kind):
            decode(extended(*numbers, side=side))


def test_steps_end_with_the_budget_of_the_length():
    """Equal decisions cost next to no bits, so that the length of the file alone would not do."""
    content = header(units=600)
    with pytest.raises(ValueError, match="more steps than its length allows"):
        verifier.Network(content)


def test_networks_beyond_the_budget_are_not_written():
    architecture = CodedArchitecture.parse("d700,d", (1, 28, 28), 10)
    layers = tuple(
        CodedLayer(np.zeros(shape, dtype=np.int64), np.zeros(shape[0], dtype=np.int64))
        for shape in architecture.shapes
    )
    with pytest.raises(InputError, match="within the limits of the format"):
        encode_network(CodedNetwork(architecture, layers))


def test_delta_is_stated_in_six_digits(tmp_path):
    path = made(tmp_path, delta=1 / 30)
    assert json.loads(path.read_text())["statement"]["delta"] == 0.0333333
    assert outcome(path, tmp_path)[0] == 0


def test_bounds_agree_with_the_exact_tail():
    """The bisection against fractions of whole numbers, where these are feasible."""
    for n, k, log_delta in product((1, 7, 30), (0, 1, 5), (-1.0, -3.0, -40.0)):
        if k <= n:
            p = verifier.binomial_upper(k, n, log_delta)
            tail = sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
            assert p == 1.0 or math.log(tail) == pytest.approx(log_delta, abs=1e-6)
