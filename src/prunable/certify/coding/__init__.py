"""Codes of pruned, quantised weights: arithmetic coder, adaptive models, enumerative masks."""

from prunable.certify.coding.arithmetic import (
    Coder,
    Decoder,
    Encoder,
    Meter,
    code_positive,
    code_uniform,
)
from prunable.certify.coding.enumerative import (
    decode_mask,
    encode_mask,
    enumerative_bits,
    live_bits,
)
from prunable.certify.coding.levels import code_levels, decode, decode_exactly, encode, ideal_bits

__all__ = [
    "Coder",
    "Decoder",
    "Encoder",
    "Meter",
    "code_levels",
    "code_positive",
    "code_uniform",
    "decode",
    "decode_exactly",
    "decode_mask",
    "encode",
    "encode_mask",
    "enumerative_bits",
    "ideal_bits",
    "live_bits",
]
