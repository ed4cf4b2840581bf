"""What an accelerator makes of draws, noise on a training step, and networks trained together.

    python benchmarks/gpu.py [--device cuda] [--out benchmarks/GPU.md]

Ratios of medians of one run, in Markdown, with the name of the card. On a CPU, which --device may
name too, it shows that the code runs, and no more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from prunable.data.loaders import load
from prunable.nets.models import MeanFieldNetwork
from prunable.nets.train.batched import Replica, train_together
from prunable.nets.train.noise import HeavyTailedNoise, attach_noise
from prunable.nets.train.sampling import sample_stable
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train

ALPHA, REPEATS = 1.8, 9


def seconds(work: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> float:
    """Median time of work, waited for, after it was done twice."""
    found = []
    for turn in range(repeats + 2):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        if turn > 1:  # before, kernels are compiled
            found.append(time.perf_counter() - started)
    return sorted(found)[len(found) // 2]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def draws(device: torch.device) -> list[str]:
    """Draws beside `normal_`, and memory beside the output."""
    shape = (10_000, 10_000) if device.type != "cpu" else (1000, 1000)
    usual = seconds(lambda: torch.empty(shape, device=device).normal_(), device)
    lines = ["| draws | times `normal_` | peak memory / output |", "|---|---|---|"]
    for kind in ("iid", "isotropic"):

        def draw(kind: str = kind) -> torch.Tensor:
            generator = torch.Generator().manual_seed(0)
            return sample_stable(shape, ALPHA, kind=kind, generator=generator, device=device)

        taken, memory = seconds(draw, device), "-"
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            size = draw().nbytes
            memory = f"{(torch.cuda.max_memory_allocated(device) - before) / size:.2f}"
        lines.append(f"| {kind} | {taken / usual:.1f} | {memory} |")
    return [*lines, "", "Allowed: 3 times, 1.1 of memory beyond the output, which is 1."]


def noise(device: torch.device) -> list[str]:
    """Noise as a share of a step of 784-10000-10 at batch 5,000."""
    torch.manual_seed(0)
    width = 10_000 if device.type != "cpu" else 500
    model = torch.nn.Sequential(
        torch.nn.Linear(784, width, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(width, 10, bias=False),
    ).to(device)
    x, y = torch.randn(5000, 784, device=device), torch.randint(10, (5000,), device=device)
    plain = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        plain.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        plain.step()

    usual = seconds(step, device)
    lines = ["| noise | share of the step without it |", "|---|---|"]
    for kind in ("type1", "type2", "type3"):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
        optimizer.zero_grad()
        law = HeavyTailedNoise(kind, ALPHA, 1e-6)
        attach_noise(optimizer, model.named_parameters(), law, seed=0)
        lines.append(f"| {kind} | {100 * seconds(optimizer.step, device) / usual:.1f} % |")
    return [*lines, "", "Allowed: 5 %."]


def together(device: torch.device) -> list[str]:
    """Networks trained together beside one by one, ECG5000."""
    data = load("ecg5000")
    x, y = (torch.from_numpy(part.copy()).to(device) for part in (data.x_train, data.y_train))
    steps, width = (200, 2000) if device.type != "cpu" else (5, 100)

    def fresh(seed: int) -> Replica:
        generator = torch.Generator().manual_seed(seed)
        classes = len(data.class_names)
        model = MeanFieldNetwork(x.shape[1], width, classes, generator=generator).to(device)
        lr = 0.6  # the step size 0.6 / width of the theory
        return Replica(model, TrainingSettings(lr, steps, 500, seed=seed, log_every=1000))

    def batched() -> None:
        train_together([fresh(seed) for seed in range(16)], x, y)

    def one_by_one() -> None:
        for replica in map(fresh, range(16)):
            train(replica.model, x, y, replica.settings)

    ratio = seconds(one_by_one, device, 3) / seconds(batched, device, 3)
    return [f"16 networks trained together: {ratio:.1f} times faster than one by one; wanted: 10."]


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("this machine has no GPU that torch can use")
    name = "CPU"
    if options.device.type == "cuda":
        name = torch.cuda.get_device_name(options.device)
    lines = [f"# Speed on an accelerator: {name}", ""]
    for part in (draws, noise, together):
        lines += [*part(options.device), ""]
    text = "\n".join(lines)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
