"""Synthetic checkpoints of any size, for measurements of time and memory; nothing is kept.

    python benchmarks/synthetic.py FOLDER [--weights 1e8] [--layers 20] [--experts 0]
        [--dtype bfloat16] [--shards 1]

Layers are matrices with both sides above 2,048 where they are large enough, entries normal with a
heavy-tailed scale a column; with experts every layer is a stack (experts, out, in).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

COLUMNS = 4096


def write(
    folder: Path,
    weights: float = 1e8,
    layers: int = 20,
    experts: int = 0,
    dtype: torch.dtype = torch.bfloat16,
    shards: int = 1,
    seed: int = 0,
) -> int:
    """Write the shards and their index; gives the number of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    each = weights / layers / max(experts, 1)
    columns = min(COLUMNS, 1 << int(math.log2(math.sqrt(each))) + 1)
    rows = max(1, round(each / columns))
    places, total = {}, 0
    for shard in range(shards):
        tensors = {}
        for layer in range(layers * shard // shards, layers * (shard + 1) // shards):
            stack = [_matrix(rows, columns, dtype, generator) for _ in range(max(experts, 1))]
            name = f"model.layers.{layer}.mlp.{'experts.' if experts else ''}up_proj.weight"
            tensors[name] = torch.stack(stack) if experts else stack[0]
            total += tensors[name].numel()
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        places |= dict.fromkeys(tensors, file)
    size = total * dtype.itemsize
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def _matrix(
    rows: int, columns: int, dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    matrix = torch.randn(rows, columns, generator=generator)
    # the ratio of two normals has no mean: the square root of its size is a tame heavy tail
    pair = torch.randn(2, columns, generator=generator)
    return (matrix * (0.02 * (pair[0] / pair[1]).abs() ** 0.25)).to(dtype)


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=float, default=1e8)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--experts", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--shards", type=int, default=1)
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    count = write(given.folder, given.weights, given.layers, given.experts, dtype, given.shards)
    print(f"{count:,} weights in {given.folder}")


if __name__ == "__main__":
    main()
