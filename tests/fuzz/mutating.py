"""Seeded damage: to bytes, to JSON documents, and to safetensors files that hold documents."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
DEEP = "@deep@"  # stands for a nesting that no writer of JSON could write
ESCAPES = "\x1b]0;taken\x07\x1b[2J<script>hit</script>"
NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**5000)
REALS = (float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, 0.5, -0.0)
TEXTS = ("", ESCAPES, "a" * 5000, "\0", "\ud800", "../../etc/passwd", "/dev/zero", "float64", "1")


def damaged_bytes(content: bytes, rng: Rng) -> bytes:
    """Flip, remove, insert, duplicate, overwrite or cut bytes at one to three places."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(found) + 1))
        if rng.random() < 0.5:  # headers are where lengths and shapes stand
            at = min(at, int(rng.integers(400)))
        length = int(rng.integers(1, 9))
        what = rng.choice(["flip", "flip", "cut", "extend", "remove", "insert", "repeat", "huge"])
        if what == "flip" and at < len(found):
            found[at] ^= 1 << int(rng.integers(8))
        elif what == "cut":
            del found[at:]
        elif what == "extend":
            found += rng.bytes(int(rng.integers(1, 2000)))
        elif what == "remove":
            del found[at : at + length]
        elif what == "insert":
            found[at:at] = rng.bytes(length)
        elif what == "repeat":
            found[at:at] = found[at : at + int(rng.integers(1, 200))]
        elif what == "huge":
            found[at : at + length] = (b"\xff" * 7 + b"\x7f")[-length:]
    return bytes(found)


def damaged_json(document: Any, rng: Rng) -> bytes:
    """Change one to three places of a document: kinds, numbers, names, lengths, depths."""
    found = json.loads(json.dumps(document))
    depth = int(rng.choice([3, 60, 100, 1500, 200_000]))
    for _ in range(rng.integers(1, 4)):
        places = list(_places(found))
        if not places:
            found = _other(None, rng)
            break
        holder, key = places[rng.integers(len(places))]
        _damage(holder, key, places, rng)
    text = json.dumps(found)
    return text.replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode("utf-8", "surrogatepass")


def _places(value: Any, seen: int = 0) -> Any:
    """All (holder, key) of a document."""
    if isinstance(value, dict | list) and seen < 30:
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], seen + 1)


def _damage(holder: Any, key: Any, places: list[Any], rng: Rng) -> None:
    if key not in holder if isinstance(holder, dict) else key >= len(holder):
        return
    what = rng.choice(["other", "other", "other", "remove", "add", "repeat", "swap", "nudge"])
    if what == "other":
        holder[key] = _other(holder[key], rng)
    elif what == "remove":
        del holder[key]
    elif what == "add" and isinstance(holder, dict):
        holder[str(rng.choice(["unknown", "", ESCAPES, "__proto__"]))] = holder[key]
    elif what in ("add", "repeat") and isinstance(holder, list):
        holder[key:key] = [holder[key]] * int(rng.choice([1, 2, 1000]))
    elif what == "swap":
        other, its = places[rng.integers(len(places))]
        if its in other if isinstance(other, dict) else its < len(other):
            holder[key] = json.loads(json.dumps(other[its]))
    elif what == "nudge" and isinstance(holder[key], int | float):
        holder[key] += int(rng.choice([-1, 1, 7]))


def _other(value: Any, rng: Rng) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: NUMBERS[rng.integers(len(NUMBERS) - 1)],
        lambda: REALS[rng.integers(len(REALS))],
        lambda: TEXTS[rng.integers(len(TEXTS))],
        lambda: rng.choice([None, True, False]) and True,
        lambda: [],
        dict,
        lambda: [value],
        lambda: {"a": value},
        lambda: DEEP,
        lambda: [int(rng.choice([0, 1, 2**20, 2**31, 2**40])) for _ in range(rng.integers(1, 5))],
    ]
    return kinds[rng.integers(len(kinds))]()


# safetensors: 8 bytes of length, a JSON header, numbers


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and numbers of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: bytes, numbers: bytes) -> bytes:
    """The file that `split` took apart."""
    return len(header).to_bytes(8, "little") + header + numbers


def damaged_safetensors(
    content: bytes,
    rng: Rng,
    texts: tuple[str, ...] = (),
    seal: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """Damage the bytes, the header, one of its `texts`, or the numbers; then `seal` it."""
    what = rng.choice(["bytes", "header", "numbers", *["text"] * (4 if texts else 0)])
    header, numbers = split(content)
    if what == "bytes":
        return damaged_bytes(content, rng)
    if what == "header":
        made = joined(damaged_json(header, rng), numbers)
    elif what == "numbers":
        changed = bytearray(numbers or b"\0")
        for _ in range(rng.integers(1, 5)):
            changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        made = joined(json.dumps(header).encode(), bytes(changed[: len(numbers)]))
    else:
        name = texts[rng.integers(len(texts))]
        text = header["__metadata__"][name]
        if rng.random() < 0.7:
            changed_text = damaged_json(json.loads(text), rng)
        else:
            changed_text = damaged_bytes(text.encode(), rng)
        header["__metadata__"][name] = changed_text.decode("utf-8", "replace")
        made = joined(json.dumps(header, ensure_ascii=False).encode(), numbers)
    return seal(made) if seal else made
