"""The arithmetic coder: exact, prefix-free, and as short as its probabilities say."""

import itertools
import math

import pytest

from prunable.certify.coding.arithmetic import (
    ONE,
    Decoder,
    Encoder,
    Meter,
    code_positive,
    code_uniform,
)
from prunable.errors import DataIntegrityError, InputError

P = [ONE // 3, 1, ONE - 1, ONE // 2, ONE // 1000]


def encoded(bits, probabilities):
    encoder = Encoder()
    for bit, p in zip(bits, probabilities, strict=True):
        encoder.code(bit, p)
    return encoder.finish()


def test_every_message_comes_back():
    for bits in itertools.product((0, 1), repeat=len(P)):
        decoder = Decoder(encoded(bits, P))
        assert tuple(decoder.code(0, p) for p in P) == bits


def test_length_is_that_of_the_probabilities():
    for bits in itertools.product((0, 1), repeat=8):
        p = [ONE // 5] * 8
        ideal = -sum(math.log2(0.2 if bit else 0.8) for bit in bits)
        assert 0 <= 8 * len(encoded(bits, p)) - ideal < 1 + 8 + 1e-6


def test_no_codeword_begins_another_and_kraft_holds():
    probabilities = [ONE // 7, ONE // 2, ONE - ONE // 5, ONE // 3] * 2
    words = [encoded(bits, probabilities) for bits in itertools.product((0, 1), repeat=8)]
    assert len(set(words)) == len(words)
    assert not any(b.startswith(a) for a in words for b in words if a != b)
    assert sum(2.0 ** (-8 * len(word)) for word in words) <= 1


def test_what_follows_a_codeword_does_not_matter():
    bits, p = (1, 0, 0, 1, 1), [ONE // 9] * 5
    for tail in (b"", b"\0" * 20, b"\xff" * 20):
        decoder = Decoder(encoded(bits, p) + tail)
        assert tuple(decoder.code(0, q) for q in p) == bits


def test_carry_runs_through_all_bytes():
    # the least likely symbol at the very top of the interval, again and again
    p = [ONE - 1] * 40 + [1] * 3
    bits = (1,) * 40 + (1, 1, 0)
    decoder = Decoder(encoded(bits, p))
    assert tuple(decoder.code(0, q) for q in p) == bits


def test_meter_counts_what_the_encoder_writes():
    meter, encoder = Meter(), Encoder()
    for k in range(500):
        for coder in (meter, encoder):
            coder.code(int(k % 7 == 0), ONE // 7)
    assert 0 <= 8 * len(encoder.finish()) - meter.bits < 9


@pytest.mark.parametrize("value", [1, 2, 3, 4, 255, 256, 1 << 24])
def test_elias_gamma_has_its_known_length(value):
    meter = Meter()
    code_positive(meter, value)
    assert meter.bits == pytest.approx(2 * math.floor(math.log2(value)) + 1)
    encoder = Encoder()
    code_positive(encoder, value)
    assert code_positive(Decoder(encoder.finish()), 1) == value


def test_integers_out_of_range_are_refused():
    with pytest.raises(InputError, match="in \\[1, 16777216\\]"):
        code_positive(Encoder(), 0)
    with pytest.raises(InputError, match="in \\[0, 2\\^3\\)"):
        code_uniform(Encoder(), 8, 3)
    encoder = Encoder()
    code_positive(encoder, 100)
    with pytest.raises(DataIntegrityError, match="above 50"):
        code_positive(Decoder(encoder.finish()), 1, most=50)


def test_a_decoder_does_not_read_on_for_ever():
    decoder = Decoder(b"\x12")

    def read_on():
        while True:
            decoder.code(0, ONE // 2)

    with pytest.raises(DataIntegrityError, match="ends too early"):
        read_on()
