"""The code file of a network: exact, self-contained, refused when damaged."""

import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from prunable.certify.architecture import CodedArchitecture
from prunable.certify.certificate import certify_network, read_certificate, write_certificate
from prunable.certify.code_file import (
    CodedLayer,
    CodedNetwork,
    coded_from_levels,
    decode_network,
    encode_network,
    step_place,
    step_value,
)
from prunable.certify.examples import Examples
from prunable.errors import DataIntegrityError, InputError
from prunable.numerics.randomness import rng


def network(text="c3-4,m2,d5,d", *, normalised=True, seed=0, density=0.5, biases=True):
    architecture = CodedArchitecture.parse(text, (2, 6, 6), 3, normalised=normalised)
    g = rng(seed, "network")
    layers = []
    for place, shape in enumerate(architecture.shapes):
        weights = g.integers(-3, 4, shape) * (g.random(shape) < density)
        bias = g.integers(-4, 5, shape[0]) * int(biases)
        step = 0 if normalised or place == len(architecture.shapes) - 1 else 500 + 7 * place
        grid = 0 if normalised or not bias.any() else 560 + place
        layers.append(CodedLayer(weights, bias, step, grid))
    return CodedNetwork(architecture, tuple(layers))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(
    "text", ["d", "d4,d", "c3-4,m2,d5,d", "c5s2-3,c3-2,d", "m2,c1-6,m3,d", "f,u,e5,m2,d"]
)
def test_network_comes_back_bit_for_bit(text, normalised):
    given = network(text, normalised=normalised or "e5" in text)
    found = decode_network(encode_network(given))
    assert found.architecture == given.architecture
    for mine, theirs in zip(
        [*given.weights, *given.biases], [*found.weights, *found.biases], strict=True
    ):
        assert mine.dtype == np.float64
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("biases", [True, False])
def test_empty_and_full_networks_come_back(density, biases):
    given = network(density=density, biases=biases)
    found = decode_network(encode_network(given))
    for mine, theirs in zip(given.layers, found.layers, strict=True):
        np.testing.assert_array_equal(mine.weights, theirs.weights)
        np.testing.assert_array_equal(mine.biases, theirs.biases)


def test_damaged_files_are_refused():
    content = encode_network(network())
    for damaged in (content[:-1], content[:5], b"", content + b"\0", content + b"x"):
        with pytest.raises(DataIntegrityError):
            decode_network(damaged)


def test_no_altered_byte_decodes_to_the_same_network():
    given = network("d4,d", seed=1)
    content = encode_network(given)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 0x10
        try:
            found = decode_network(bytes(altered))
        except DataIntegrityError:
            continue
        same = (
            found.architecture == given.architecture
            and all(np.array_equal(a, b) for a, b in zip(found.weights, given.weights, strict=True))
            and all(np.array_equal(a, b) for a, b in zip(found.biases, given.biases, strict=True))
        )
        assert not same


def test_files_of_different_networks_begin_differently():
    files = {encode_network(network("d2,d", seed=seed, density=0.1)) for seed in range(60)}
    assert not any(b.startswith(a) for a in files for b in files if a != b)


def test_length_does_not_see_the_order_of_hidden_units():
    given = network("c3-6,d5,d", seed=2)
    order = rng(3, "order").permutation(6)
    first, second, third = given.layers
    turned = CodedNetwork(
        given.architecture,
        (
            CodedLayer(first.weights[order], first.biases[order]),
            CodedLayer(second.weights[:, order], second.biases),
            third,
        ),
    )
    assert abs(len(encode_network(turned)) - len(encode_network(given))) <= 1
    x = torch.from_numpy(rng(4, "x").normal(size=(5, 2, 6, 6)))
    torch.testing.assert_close(turned.logits(x), given.logits(x))
    assert given.saving == pytest.approx(math.log2(720) + math.log2(120) - 1, abs=1e-9)


def test_equal_units_save_less():
    given = network("d4,d", seed=5)
    first, last = given.layers
    weights, biases = first.weights.copy(), first.biases.copy()
    weights[1], biases[1] = weights[0], biases[0]
    equal = CodedNetwork(given.architecture, (CodedLayer(weights, biases), last))
    assert equal.saving == pytest.approx(math.log2(24 / 2) - 1, abs=1e-9)


def test_steps_are_exact_and_near():
    places = range(1024)
    values = [step_value(place) for place in places]
    assert all(a < b for a, b in itertools.pairwise(values))
    assert [step_place(value) for value in values[::37]] == list(places)[::37]
    for step in (1e-9, 0.0123, 3.0):
        assert step_value(step_place(step)) == pytest.approx(step, rel=0.033)
    with pytest.raises(InputError, match="positive and finite"):
        step_place(0.0)


def test_scale_of_the_last_layer_is_free():
    architecture = CodedArchitecture.parse("d4,d", (1, 1, 7), 3, normalised=False)
    g = rng(6, "scale")
    weights = [g.integers(-2, 3, shape) for shape in architecture.shapes]
    biases = [g.integers(-3, 4, shape[0]) for shape in architecture.shapes]
    # steps on the grid, so that nothing is rounded
    coded = coded_from_levels(architecture, weights, biases, [0.125, 0.25], [0.5, 0.25])
    x = g.normal(size=(50, 7))
    hidden = np.maximum(0.125 * weights[0].reshape(4, 7) @ x.T + 0.5 * biases[0][:, None], 0)
    logits = 0.25 * weights[1].reshape(3, 4) @ hidden + 0.25 * biases[1][:, None]
    found = coded.logits(torch.from_numpy(x[:, None, None])).numpy()
    np.testing.assert_allclose(0.25 * found, logits.T, rtol=1e-12, atol=1e-14)


def examples(seed=0, n=40):
    g = rng(seed, "examples")
    return Examples(g.normal(size=(n, 2, 6, 6)).astype(np.float32), g.integers(3, size=n))


def test_certificate_says_what_it_holds(tmp_path):
    certificate = certify_network(network(), examples(), examples(1, 30), 0.05)
    code = write_certificate(tmp_path / "cert.json", certificate)
    document, found = read_certificate(tmp_path / "cert.json")
    statement = document["statement"]
    assert statement["bits"] == 8 * code.stat().st_size
    assert statement["sha256"] == hashlib.sha256(code.read_bytes()).hexdigest()
    assert statement["train"]["bound"] == certificate.bounds[0].value
    assert found.weights[0].tobytes() == certificate.network.weights[0].tobytes()
    assert statement["vacuous"]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda d, c: (d, c[:-1]), "is not the code file of"),
        (lambda d, c: (d, bytes([c[0] ^ 1]) + c[1:]), "is not the code file of"),
        (lambda d, _: (d, None), "has to lie beside"),
        (lambda d, c: ({**d, "format": "other"}, c), "the format is 'other'"),
        (lambda d, c: ({"format": d["format"]}, c), "is no certificate"),
        (lambda d, c: ({**d, "statement": {**d["statement"], "bits": 8}}, c), "says 8 bits"),
        (lambda d, c: ({**d, "statement": {**d["statement"], "file": "../x"}}, c), "is no cert"),
    ],
)
def test_altered_certificates_are_refused(tmp_path, alter, message):
    path = tmp_path / "cert.json"
    code = write_certificate(path, certify_network(network(), examples(), None, 0.05))
    document, content = alter(json.loads(path.read_text()), code.read_bytes())
    path.write_text(json.dumps(document))
    code.unlink() if content is None else code.write_bytes(content)
    with pytest.raises(DataIntegrityError, match=message):
        read_certificate(path)


def test_bad_data_are_refused():
    x = np.zeros((4, 2, 6, 6), dtype=np.float32)
    with pytest.raises(InputError, match="at least 1 picture"):
        Examples(x[:0], np.zeros(0, dtype=np.int64))
    with pytest.raises(InputError, match="finite"):
        Examples(x + np.nan, np.zeros(4, dtype=np.int64))
    with pytest.raises(InputError, match="classes 0 to 2"):
        certify_network(network(), Examples(x, np.full(4, 3)), None, 0.05)
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(InputError, match="inside \\(0, 1\\)"):
            certify_network(network(), examples(), None, delta)
    certificate = certify_network(network(), examples(), None, 0.05)
    with pytest.raises(InputError, match=r"does not end in \.code"):
        write_certificate(Path("cert.code"), certificate)
