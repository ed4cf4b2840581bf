"""What quantisation stored in place of weights, as the numbers that it means.

GPTQ and AWQ pack whole numbers into words of 32 bits, beside zeros and scales for groups of inputs;
8-bit floats and integers have scales of a tensor, its outputs or its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import UnsupportedModelError
from prunable.files import read_json
from prunable.nets.archive.base import Archive, StoredTensor, failures_named, stored_tensor
from prunable.nets.archive.folder import check_inside
from prunable.numerics.measure.entries import Coded

PARTS = ("qweight", "qzeros", "scales")
PACKED = ("qweight", "weight_packed")  # of the second no layout is read
SCALES = ("_scale_inv", "_scale")  # both are multiplied by
WORD = 32  # bits
AWQ_BITS = 4
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # which of 8 outputs, from the lowest bits of a word on
OUTPUTS = 256  # decoded at a time
BLOCK = 128  # inputs and outputs that share a scale, where the config does not say

Floats = NDArray[np.float32]
Digits = NDArray[np.uint8]
Settings = Mapping[str, Any]


def unpacked(archive: Archive) -> Archive:
    """An archive with weights, (out, in) float32, in place of the parts that stand for them.

    What parts mean is told by their names and shapes; the config beside the file adds whether zeros
    of GPTQ are stored less 1, as they are unless its `checkpoint_format` is "gptq_v2".

    Raises
    ------
    DataIntegrityError : If sizes of parts contradict each other, or the config is damaged.
    UnsupportedModelError : If the parts of a weight are in no layout that is known.
    """
    stored = {tensor.name: tensor for tensor in archive.tensors}
    found = dict(_packed(stored))
    if not found:
        return archive
    settings = _settings(archive.path)
    gone = {part.name for parts in found.values() for part in parts.values()}
    made = {}
    for name, parts in found.items():
        first = next(iter(parts.values()))
        with failures_named(first.file or archive.path, first.name):
            make = _scaled if name in stored else _words
            made[first.name] = make(name, parts, settings)
    tensors = [made.get(name, x) for name, x in stored.items() if name in made or name not in gone]
    return replace(archive, tensors=tuple(tensors))


def refuse_packed(archive: Archive) -> None:
    """Refuse what cannot be written again with other weights.

    Raises
    ------
    UnsupportedModelError : If a weight of the archive is packed or scaled by quantisation.
    """
    for name, parts in _packed({tensor.name: tensor for tensor in archive.tensors}):
        raise UnsupportedModelError(
            f"{archive.path} stores {name} quantised, as {' and '.join(parts)}; `measure` reads "
            "that, but it cannot be written pruned. Give the network that it was quantised from."
        )


def _packed(stored: Mapping[str, StoredTensor]) -> Iterator[tuple[str, dict[str, StoredTensor]]]:
    """Each weight by the name that it has unpacked, and its parts by the ends of their names."""
    for name, tensor in stored.items():
        head, dot, leaf = name.rpartition(".")
        if leaf in PACKED and "int" in tensor.dtype and f"{head}{dot}weight" not in stored:
            parts = {part: stored.get(f"{head}{dot}{part}") for part in (leaf, *PARTS, "g_idx")}
            yield f"{head}{dot}weight", {part: x for part, x in parts.items() if x}
        elif tensor.dtype.startswith("float8") or "int" in tensor.dtype:
            scale = next((stored[name + end] for end in SCALES if name + end in stored), None)
            if scale is not None and "float" in scale.dtype:
                yield name, {leaf: tensor, scale.name.removeprefix(head + dot): scale}


def _settings(path: Path) -> Settings:
    """What the config beside the files says of their quantisation."""
    folder = path if path.is_dir() else path.parent
    for name, key in (("config.json", "quantization_config"), ("quantize_config.json", None)):
        if (file := folder / name).is_file():
            check_inside(file, folder)
            document = read_json(file, "fetch it again")
            found = document.get(key) if key and isinstance(document, dict) else document
            if isinstance(found, dict):
                return found
    return {}


def _unknown(said: str) -> str:
    return (
        f"{said} is in no layout of GPTQ, AWQ (gemm) or 8 bits that is read here; give all its "
        "files, or the network that it was quantised from."
    )


def _words(name: str, parts: Mapping[str, StoredTensor], settings: Settings) -> StoredTensor:
    """The weight of GPTQ or AWQ; see `_load_words`."""
    first = next(iter(parts.values()))
    if absent := [part for part in PARTS if part not in parts]:
        raise UnsupportedModelError(_unknown(f"{first.name} without {' and '.join(absent)}"))
    weight, zeros, scales = (parts[part].shape for part in PARTS)
    if not len(weight) == len(zeros) == len(scales) == 2 or 0 in (*weight, *zeros, *scales):
        raise ValueError(f"parts of the shapes {weight}, {zeros} and {scales} are no layer")
    groups, outputs = scales
    awq = weight[1] * WORD == outputs * AWQ_BITS
    bits = AWQ_BITS if awq else zeros[1] * WORD // outputs
    method, version = ("awq" if awq else "gptq"), settings.get("checkpoint_format", "gptq")
    if not (awq or weight[1] == outputs) or version not in ("gptq", "gptq_v2", "gemm"):
        raise UnsupportedModelError(
            _unknown(f"{first.name} of shape {weight}, scaled by {scales},")
        )
    if settings.get("quant_method") in {"awq", "gptq"} - {method}:
        raise ValueError(f"its shapes are those of {method}, the config says otherwise")
    inputs = weight[0] if awq else weight[0] * WORD // max(bits, 1)
    if bits not in (2, 3, 4, 8) or zeros[0] != groups or zeros[1] * WORD != outputs * bits:
        raise ValueError(f"zeros of shape {zeros} do not fit scales of shape {scales}")
    if not awq and inputs * bits != weight[0] * WORD:
        raise ValueError(f"{weight[0]} words hold no whole number of inputs of {bits} bits")
    kinds = [x.dtype for x in parts.values()]
    if (
        "float" not in kinds[2]
        or kinds[:2] != ["int32"] * 2
        or not all("int" in k for k in kinds[3:])
    ):
        raise ValueError(f"parts of the types {', '.join(kinds)} are no layer")
    places = parts.get("g_idx")
    size = settings.get("group_size")
    if not isinstance(size, int) or size < 1 or -(-inputs // size) != groups:
        size = inputs // groups
    if places is None and (size == 0 or -(-inputs // size) != groups):
        raise ValueError(f"{inputs} inputs are not {groups} groups of one size")
    if places is not None and places.shape != (inputs,):
        raise ValueError(f"g_idx of shape {places.shape} does not fit {inputs} inputs")
    offset = int(not awq and version == "gptq")
    read = partial(_load_words, parts, inputs, bits, size, offset, awq)
    return stored_tensor(first.file or Path(), name, (outputs, inputs), "float32", read)


def _load_words(
    parts: Mapping[str, StoredTensor], inputs: int, bits: int, size: int, offset: int, awq: bool
) -> Floats:
    """(out, in): scale times what a number lies above the zero of its group.

    GPTQ packs along the inputs, AWQ and all zeros along the outputs; numbers may go on in the next
    word. Stored zeros of GPTQ are less by `offset`, in as many bits.
    """
    words, zeros, scales = (parts[part].load() for part in PARTS)
    group = np.arange(inputs) // size
    if (places := parts.get("g_idx")) is not None:
        group = places.load()
        if group.min() < 0 or group.max() >= len(scales):
            raise ValueError(f"g_idx names other than its {len(scales)} groups")
    in_order = _in_order if awq else np.asarray
    words, zeros = words.view(np.uint32), zeros.view(np.uint32)
    steps = scales.T.astype(np.float32)
    nothing = (in_order(_digits(zeros.T, bits)) + np.uint8(offset)) & np.uint8(2**bits - 1)
    found = np.empty((len(steps), inputs), dtype=np.float32)
    for start in range(0, len(found), OUTPUTS):
        rows = slice(start, start + OUTPUTS)
        if awq:
            each = WORD // bits
            numbers = in_order(_digits(words[:, start // each : rows.stop // each].T, bits))
        else:
            numbers = _digits(words[:, rows], bits).T
        np.subtract(numbers, nothing[rows][:, group], out=found[rows], dtype=np.float32)
        found[rows] *= steps[rows][:, group]
    return found


def _digits(words: NDArray[np.uint32], bits: int) -> Digits:
    """Numbers of so many bits that lie along the first axis, the lowest bits of a word first."""
    period, count = (1, WORD // bits) if WORD % bits == 0 else (bits, WORD)
    found = np.empty((len(words) * WORD // bits, words.shape[1]), dtype=np.uint8)
    for place in range(count):
        word, shift = divmod(place * bits, WORD)
        part = words[word::period] >> shift
        if shift + bits > WORD:
            part |= words[word + 1 :: period] << (WORD - shift)
        found[place::count] = part & (2**bits - 1)
    return found


def _in_order(numbers: Digits) -> Digits:
    """Outputs, along the first axis, as AWQ's words hold them, in their own order."""
    eights = numbers.reshape(-1, len(AWQ_ORDER), numbers.shape[1])
    return eights[:, np.argsort(AWQ_ORDER)].reshape(numbers.shape)


def _scaled(name: str, parts: Mapping[str, StoredTensor], settings: Settings) -> StoredTensor:
    """A tensor of 8 bits times its scale: one number, one an output, or one a block."""
    tensor, scale = parts.values()
    if tensor.dtype != "int8" and not tensor.dtype.startswith("float8"):
        raise UnsupportedModelError(_unknown(f"{name} of {tensor.dtype}, with {scale.name},"))
    shape = scale.shape
    if len(shape) == 1 and shape[0] in (1, *tensor.shape[:1]):
        shape += (1,) * (len(tensor.shape) - 1)
    if not shape:
        shape = (1,) * len(tensor.shape)
    given = settings.get("weight_block_size")
    blocks = [BLOCK] * len(tensor.shape)
    if isinstance(given, list) and all(isinstance(x, int) and x > 0 for x in given):
        blocks = [*blocks, *given][-len(blocks) :]
    for count, size, block in zip(shape, tensor.shape, blocks, strict=True):
        if count not in (1, size, -(-size // block)):
            raise ValueError(f"a scale of shape {scale.shape} does not fit {tensor.shape}")

    def scales() -> Floats:
        found = scale.load().astype(np.float32).reshape(shape)
        for axis, (size, block) in enumerate(zip(tensor.shape, blocks, strict=True)):
            if found.shape[axis] not in (1, size):
                found = np.repeat(found, block, axis)
                found = found[(slice(None),) * axis + (slice(size),)]
        return found

    codes: Callable[[], Coded] | None = None
    if tensor.codes is not None and all(count == 1 for count in shape):
        codes = partial(_coded, tensor.codes, scales)
    read = partial(_product, tensor, scales)
    path = tensor.file or Path()
    return stored_tensor(path, name, tensor.shape, tensor.dtype, read, codes=codes)


def _product(tensor: StoredTensor, scales: Callable[[], Floats]) -> Floats:
    found: Floats = tensor.load().astype(np.float32)
    found *= scales()
    return found


def _coded(codes: Callable[[], Coded], scales: Callable[[], Floats]) -> Coded:
    found = codes()
    with np.errstate(invalid="ignore"):  # of codes that do not occur
        table = found.table.astype(np.float32) * scales().item()
    return replace(found, table=table.astype(np.float32), leading=False)
