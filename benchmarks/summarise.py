"""Turns a pytest-benchmark file into the ratios of RESULTS.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(source: str, target: str) -> None:
    """Read the benchmark file `source` and write the Markdown page `target`."""
    document = json.loads(Path(source).read_text())
    rows = {row["name"].removeprefix("test_"): row for row in document["benchmarks"]}
    seconds = {name: row["stats"]["median"] for name, row in rows.items()}
    peak = {name: row["extra_info"].get("peak_over_output") for name, row in rows.items()}
    step = seconds["training_step"]
    ours, single = seconds["prunable"], seconds["prunable_one_thread"]
    cpu = document["machine_info"]["cpu"]
    lines = [
        "# Speed, as ratios of one run",
        "",
        "Written by `make bench`; medians. Ratios travel between machines, times do not.",
        f"Machine: {cpu['count']} cores, {cpu['brand_raw']}.",
        "",
        "## 1e7 symmetric stable draws, alpha = 1.8",
        "",
        "| sampler | ns a draw | extra peak memory / output |",
        "|---|---|---|",
        f"| `sample_stable`, all threads | {ours * 100:.1f} | {peak['prunable']:.2f} |",
        f"| `sample_stable`, one thread | {single * 100:.1f} | |",
        f"| `scipy.stats.levy_stable.rvs` (float64) | {seconds['scipy'] * 100:.1f} "
        f"| {peak['scipy']:.2f} |",
        f"| `torch.Tensor.normal_` | {seconds['torch_normal'] * 100:.1f} | |",
        "",
        f"- {seconds['scipy'] / ours:.1f} times faster than SciPy "
        f"({seconds['scipy'] / single:.1f} on one thread); required: at least 5.",
        f"- {ours / seconds['torch_normal']:.2f} times the time of `normal_` "
        f"({single / seconds['torch_normal']:.2f} on one thread); allowed: 5.",
        f"- Extra peak memory {peak['prunable']:.2f} times the output; allowed: under 2 "
        "(the output itself is 1).",
        "",
        "## Noise on a training step of 784-10000-10 at batch 5,000",
        "",
        "| noise | share of the step without noise | allowed |",
        "|---|---|---|",
        *(
            f"| type {numeral} | {100 * seconds[f'noise_of[type{k}]'] / step:.1f} % | {allowed} |"
            for k, numeral, allowed in ((1, "I", "2 %"), (2, "II", "25 %"), (3, "III", "-"))
        ),
        "",
    ]
    Path(target).write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
