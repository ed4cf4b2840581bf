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
    shortest = {name: row["stats"]["min"] for name, row in rows.items()}
    peak = {name: row["extra_info"].get("peak_over_output") for name, row in rows.items()}
    step = seconds["training_step"]
    ours, single = seconds["prunable"], seconds["prunable_one_thread"]
    cpu = document["machine_info"]["cpu"]
    lines = [
        "# Speed, as ratios of one run",
        "",
        "Written by `make bench`; medians, of singular values the shortest of three. Ratios travel "
        "between machines, times do not. What is required or allowed is a goal; one that is missed "
        "stands here as it came.",
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
        f"({single / seconds['torch_normal']:.2f} on one thread); allowed: 2.5.",
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
    extra = {name: row["extra_info"] for name, row in rows.items()}
    lines += measurement(seconds, shortest, extra)
    lines += scale(extra)
    lines += exports(extra["export[node]"], extra["export[unstructured]"])
    lines += predictions(seconds, extra)
    lines += sketches(extra)
    lines += training(extra)
    lines += simulations(extra)
    Path(target).write_text("\n".join(lines))
    print("\n".join(lines))


def measurement(
    seconds: dict[str, float], shortest: dict[str, float], extra: dict[str, dict[str, float]]
) -> list[str]:
    """Sections on `prunable measure` and the functions below it."""
    lines = []
    peer = extra.get("network[weightwatcher-vgg11--]")
    ours = {mode: extra[f"network[prunable-vgg11-{mode}]"] for mode in ("auto", "exact")}
    encoder = extra["network[prunable-encoder-auto]"]
    if peer:
        lines += [
            "## Measuring VGG-11, 133M parameters, default initialisation",
            "",
            "| | seconds | extra peak memory, MiB |",
            "|---|---|---|",
            f"| WeightWatcher 0.7.7, `analyze` | {peer['seconds']:.1f} | {peer['extra_mib']:.0f} |",
            *(
                f'| `measure`, `spectrum="{mode}"` | {found["seconds"]:.1f} '
                f"| {found['extra_mib']:.0f} |"
                for mode, found in ours.items()
            ),
            "",
            f"- {peer['seconds'] / ours['auto']['seconds']:.1f} times faster "
            f"({peer['seconds'] / ours['exact']['seconds']:.1f} with every singular value computed "
            "instead of estimated in the two matrices with both sides above 2,048); "
            "required: at least 10.",
            f"- Extra memory {ours['auto']['extra_mib'] / peer['extra_mib']:.2f} of the peer's "
            f"({ours['exact']['extra_mib'] / peer['extra_mib']:.2f} with exact spectra); "
            "allowed: under 0.25.",
            f"- The shape of a sentence encoder (22.7M parameters, 38 matrices): "
            f"{encoder['seconds']:.1f} s; allowed: under 5 s.",
            "",
        ]
    lines += [
        "## Single functions, 1e7 float32 weights",
        "",
        f"- `log_moment` takes {seconds['log_moment'] / seconds['log_pass']:.2f} times as long as "
        "`abs().log().mean()` of torch; allowed: 3.",
        "- `kappa_curve` at nine eps is "
        f"{seconds['torch_sort_cumsum'] / seconds['kappa_curve']:.1f} times faster than torch "
        "sort and cumsum; required: at least 8.",
        "",
        "## Singular values by the float64 Gram matrix, beside `torch.linalg.svdvals`",
        "",
        "| shape | times faster | largest relative error above 1e-3 of the largest |",
        "|---|---|---|",
    ]
    for name in seconds:
        if name.startswith("gram["):
            ratio = shortest[name.replace("gram", "svdvals")] / shortest[name]
            shape = extra[name]["shape"]
            lines.append(f"| {shape} | {ratio:.1f} | {extra[name]['relative_error']:.1e} |")
    lines += ["", "Required: at least 2.5 times faster, error below 1e-5.", ""]
    return lines + pruning(*(extra[f"global_magnitude[{p}]"] for p in ("prunable", "torch")))


def pruning(ours: dict[str, float], peer: dict[str, float]) -> list[str]:
    """Section on pruning."""
    return [
        "## Global magnitude pruning of 1e8 float32 weights to a tenth, ten layers",
        "",
        "| | seconds | extra peak memory, MiB |",
        "|---|---|---|",
        f"| `torch.nn.utils.prune.global_unstructured` | {peer['seconds']:.1f} "
        f"| {peer['extra_mib']:.0f} |",
        f"| `prunable.prune` | {ours['seconds']:.2f} | {ours['extra_mib']:.0f} |",
        "",
        f"- {peer['seconds'] / ours['seconds']:.1f} times faster, plan with masks, errors and "
        "counts included; required: at least 100.",
        f"- Extra memory {ours['extra_mib'] * 2**20 / 4e8:.2f} of the weights; allowed: under 1.1.",
        "",
    ]


def scale(extra: dict[str, dict[str, float]]) -> list[str]:
    """Section on files beyond memory."""
    lines = [
        "## Files tensor by tensor: 1e8 weights in bfloat16, in the page cache",
        "",
        "| | ten layers of 1e7 | one layer of 1e8 | allowed |",
        "|---|---|---|---|",
    ]
    found = [extra[f"scale[{size}]"] for size in ("1e7", "1e8")]
    for title, ours, theirs, allowed in (
        ("`measure` without spectra, beside reading and summing", "measured", "summed", "2"),
        ("`measure` with estimated spectra", "with_spectra", "summed", "6"),
        ("`prune --scope global`, beside a copy of the file", "pruned", "copied", "4"),
    ):
        ratios = " | ".join(f"{row[ours] / row[theirs]:.1f}" for row in found)
        lines.append(f"| {title} | {ratios} | {allowed} |")
    for title, key in (
        ("extra peak memory of `measure` without spectra, MiB", "measured_mib"),
        ("with spectra", "with_spectra_mib"),
        ("of `prune`", "pruned_mib"),
    ):
        sizes = " | ".join(f"{row[key]:.0f}" for row in found)
        lines.append(f"| {title} | {sizes} | 400 |")
    return [
        *lines,
        "",
        "Processor seconds of one thread, shortest of three interleaved repeats; summed in float64 "
        "by torch. Samples of 2^20 weights and tables of laws take one time whatever the layer, "
        "which is what small ones cost. See docs/scale.md.",
        "",
    ]


def exports(node: dict[str, float], single: dict[str, float]) -> list[str]:
    """Section on exported networks."""
    lines = [
        "## A 784-2048x4-10 network exported at a tenth of its parameters, beside the dense one",
        "",
        "| | smaller on disk | threads | faster at batch 1 | 32 | 256 |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in (("units cut out", node), ("single weights, the probe decides", single)):
        for threads, key in (("one", "speed"), ("all", "speed_all_threads")):
            ratios = " | ".join(f"{found[f'{key}_{size}']:.2f}" for size in (1, 32, 256))
            lines.append(f"| {name} | {found['size']:.1f} | {threads} | {ratios} |")
    return [
        *lines,
        "",
        "Required of cut units: 8 times smaller, 4 times faster at batch 1 and 256; of single "
        "weights: 4 times smaller and never slower. Where the probe leaves all layers dense both "
        "networks do the same, and the ratio is noise. "
        f"Layers in compressed rows: {single['sparse_layers']:.0f} on one thread, "
        f"{single['sparse_layers_all_threads']:.0f} on all.",
        "",
    ]


def predictions(seconds: dict[str, float], extra: dict[str, dict[str, float]]) -> list[str]:
    """Section on predicted risks."""
    return [
        "## Predicted risk: 100 widths, dense and pruned by magnitude, Hessian and oracle",
        "",
        "| spectrum, p = 1,000 | curve, ms | beside 30 replicas simulated, times faster |",
        "|---|---|---|",
        *(
            f"| {label} | {1e3 * seconds[f'curve[{kind}]']:.1f} "
            f"| {extra[f'curve[{kind}]']['times_faster']:,.0f} |"
            for kind, label in (("fig3b", "Figure 3b"), ("all different", "all values different"))
        ),
        "",
        "- Required of Figure 3: under 500 ms, at least 1,000 times faster. Our simulation on one "
        "thread, three replicas timed.",
        f"- A million features: {seconds['a_million_features[dense]']:.2f} s dense, "
        f"{seconds['a_million_features[pruned]']:.2f} s with three ways of pruning; allowed: 2 s. "
        f"Memory {extra['a_million_features[pruned]']['peak_numbers_a_feature']:.0f} numbers a "
        "feature.",
        "",
    ]


def sketches(extra: dict[str, dict[str, float]]) -> list[str]:
    """Section on sparse matrix sketching."""
    beside = extra["against_the_linear_programme"]
    return [
        "## Decoding sketches of n x n matrices with 8 entries a row and column",
        "",
        "| n | exact bits (tagged), s | real values (verification), s | allowed, s |",
        "|---|---|---|---|",
        *(
            f"| {n:,} | {extra[f'recovery[decode_tagged-{n}]']['seconds']:.2f} "
            f"| {extra[f'recovery[peel-{n}]']['seconds']:.2f} "
            f"| {extra[f'recovery[peel-{n}]']['allowed']:.0f} |"
            for n in (2_000, 10_000)
        ),
        "",
        f"- At n = 60: {beside['peel_times_faster']:,.0f} times faster than HiGHS (interior "
        f"points) on the same sketch, by l1 (Douglas-Rachford) "
        f"{beside['decode_l1_times_faster']:,.0f} times; required: at least 100.",
        "",
    ]


def training(extra: dict[str, dict[str, float]]) -> list[str]:
    """Section on networks trained together."""
    prefix = "batched_training["
    found = {
        int(name.removeprefix(prefix).split("-")[0]): row
        for name, row in extra.items()
        if name.startswith(prefix)
    }
    cores = next(iter(found.values()))["cores"]
    return [
        f"## Networks trained together on {cores} threads, beside one by one: ECG5000, full batch",
        "",
        "| hidden units | networks | ms a step and network | times faster than one by one on one "
        "thread | on all threads | both on one thread |",
        "|---|---|---|---|---|---|",
        *(
            f"| {width:,} | {row['replicas']} | {1e3 * row['batched_all_threads']:.1f} "
            f"| {row['one_by_one'] / row['batched_all_threads']:.2f} "
            f"| {row['one_by_one_all_threads'] / row['batched_all_threads']:.2f} "
            f"| {row['one_by_one'] / row['batched']:.2f} |"
            for width, row in sorted(found.items())
        ),
        "",
        "Shortest of three interleaved repeats. Required: at least 2 times faster than one by one "
        "on one thread, which is how a run alone computes. The last column is what remains where "
        "each processor trains networks of its own anyway.",
        "",
    ]


def simulations(extra: dict[str, dict[str, float]]) -> list[str]:
    """Section on particle systems."""
    large = extra["simulate[large]"]
    return [
        "## 10,000 particles of dimension 140, 1,000 steps, 32 examples, float32, one thread",
        "",
        "| noise | seconds | allowed |",
        "|---|---|---|",
        *(
            f"| type {numeral} | {large[f'type{k}']:.0f} | 60 |"
            for k, numeral in enumerate(("I", "II", "III"), 1)
        ),
        "",
        f"- 64 systems of 32 particles in one batch: {extra['simulate[replicas]']['ratio']:.1f} "
        "times faster than one after the other; required: at least 3.",
        "",
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
