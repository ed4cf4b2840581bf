"""Prune LeNet-300-100 on MNIST to 2 % of its weights, iteratively, beside its controls.

Usage: python tools/lottery_lenet.py docs/lottery [WORK]

Writes `lenet.json`, `lenet.md` and `lenet.svg`; about half an hour on one core. What is finished
is kept in WORK (default: OUT/work), so that an interrupted run goes on. Seeds are fixed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.progress import track

from prunable.data.loaders import load
from prunable.files import write_bytes, write_json, write_text
from prunable.nets.models import Architecture, build
from prunable.nets.prune.iterative import Rewind, Round, iterate
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.strategies import MagnitudePruning
from prunable.nets.prune.tickets import (
    Ticket,
    apply_ticket_,
    random_ticket,
    save_ticket,
    shuffle_masks,
)
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.numerics.randomness import child_seed, rng
from prunable.report.figures import PALETTE, as_svg

SEEDS, INIT_SEEDS = (0, 1, 2), (0,)
KAPPA, ROUNDS = 0.02, 14
EPOCHS, LAST_EPOCHS, BATCH = 6, 30, 128
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4
STD = 0.3081
CONTROLS = ("ticket", "re-initialised", "shuffled", "random")


class Mnist:
    """Pictures in units of their standard deviation, black at 0, and their classes."""

    def __init__(self) -> None:
        data = load("mnist")
        self.x, self.x_test = (
            torch.from_numpy(part.copy()) / STD for part in (data.x_train, data.x_test)
        )
        self.y, self.y_test = (
            torch.from_numpy(part.copy()) for part in (data.y_train, data.y_test)
        )

    def fit(self, model: torch.nn.Module, epochs: int, seed: int, **hooks: Any) -> float:
        """Train from where the model is; return the loss on the training set."""
        steps = -(-len(self.x) // BATCH) * epochs
        settings = TrainingSettings(
            lr=LR,
            steps=steps,
            batch_size=BATCH,
            seed=seed,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            schedule="cosine",
            log_every=steps,
        )
        return train(model, self.x, self.y, settings, **hooks).log[-1]["loss"]

    def error(self, model: torch.nn.Module) -> float:
        """Share of test pictures that are misread."""
        return 1 - evaluate(model, self.x_test, self.y_test)["accuracy"]


def network(seed: int) -> torch.nn.Module:
    """LeNet-300-100 with the initial weights of a seed."""
    generator = torch.Generator().manual_seed(child_seed(seed, "init"))
    return build(Architecture("lenet-300-100", (784,), 10), generator=generator)


def rounds_of(data: Mnist, seed: int, rewind: Rewind, work: Path) -> dict[str, Any]:
    """Test errors by kept share, and of the controls at the last share."""
    result = work / f"{rewind}-{seed}.json"
    if result.exists():
        return json.loads(result.read_text())
    errors_file = work / f"{rewind}-{seed}-errors.json"
    errors = json.loads(errors_file.read_text()) if errors_file.exists() else []

    def train_round(model: torch.nn.Module, chosen: Round) -> float:
        loss = data.fit(model, EPOCHS, chosen.seed, prepare=chosen.hold)
        del errors[chosen.number - 1 :]
        errors.append(data.error(model))
        write_json(errors_file, errors)
        return loss

    model = network(seed)
    outcome = iterate(
        model,
        train_round,
        strategy=MagnitudePruning(),
        rounds=ROUNDS,
        kappa=KAPPA,
        rewind=rewind,
        seed=seed,
        checkpoint=work / f"{rewind}-{seed}.safetensors",
    )
    save_ticket(work / f"{rewind}-{seed}-ticket.safetensors", outcome.ticket)
    last = {"ticket": trained_under(data, model, outcome.ticket, seed)}
    if rewind == "learning-rate":
        dense = network(seed)
        data.fit(dense, LAST_EPOCHS, child_seed(seed, "last"))
        last["dense"] = data.error(dense)
    else:
        generator = rng(seed, "controls")
        for name, start, ticket in (
            ("re-initialised", seed + 1000, outcome.ticket),
            ("shuffled", seed, shuffle_masks(outcome.ticket, generator)),
            ("random", seed, random_ticket(outcome.ticket, generator)),
        ):
            last[name] = trained_under(data, network(start), ticket, seed)
    found = {
        "seed": seed,
        "rewind": rewind,
        "kappa": [1.0, *outcome.ticket.shares],
        "n_kept": outcome.ticket.n_kept,
        "n_total": outcome.ticket.n_total,
        "test_error": [*errors, last["ticket"]],
        "controls": last,
    }
    write_json(result, found)
    return found


def trained_under(data: Mnist, model: torch.nn.Module, ticket: Ticket, seed: int) -> float:
    """Test error after a last training with the masks held."""
    apply_ticket_(model, ticket)
    data.fit(
        model,
        LAST_EPOCHS,
        child_seed(seed, "last"),
        prepare=lambda optimizer: hold_masks(optimizer, model.named_parameters(), ticket.masks),
    )
    return data.error(model)


def figure(runs: list[dict[str, Any]]) -> Figure:
    """Test error against the kept share, a line a seed."""
    fig = Figure(figsize=(6.4, 4.0), layout="constrained")
    ax = fig.subplots()
    for color, rewind in zip(PALETTE, ("learning-rate", "init"), strict=False):
        for run in runs:
            if run["rewind"] == rewind:
                label = f"rewinding of {rewind}" if run["seed"] == SEEDS[0] else None
                errors = [100 * error for error in run["test_error"]]
                ax.plot(run["kappa"], errors, "o-", color=color, label=label, alpha=0.8)
    for index, name in enumerate(CONTROLS[1:]):
        points = [run for run in runs if run["rewind"] == "init"]
        errors = [100 * run["controls"][name] for run in points]
        shares = [run["kappa"][-1] for run in points]
        ax.plot(shares, errors, "x", color=PALETTE[2 + index], label=f"control: {name}")
    ax.set(xscale="log", xlabel="kappa (kept share of weights)", ylabel="test error, %")
    ax.set_title("LeNet-300-100 on MNIST, iterative magnitude pruning")
    ax.legend(frameon=False)
    return fig


def page(runs: list[dict[str, Any]]) -> str:
    """The same numbers as tables."""
    lines = [
        "# LeNet-300-100 on MNIST, pruned to 2 % of its weights",
        "",
        f"{ROUNDS} rounds of global magnitude pruning, each of {EPOCHS} epochs of SGD (momentum "
        f"{MOMENTUM}, weight decay {WEIGHT_DECAY}, batches of {BATCH}, learning rate {LR} falling "
        f"to 0 by a cosine), then a last training of {LAST_EPOCHS} epochs under the masks. Errors "
        "are those of the last iterate on the 10,000 test pictures, which chose nothing else; the "
        "optimizer and its settings were chosen among three on seed 0. Written by",
        "`python tools/lottery_lenet.py docs/lottery`.",
        "",
        "![test error against kappa](lenet.svg)",
    ]
    for rewind, meaning in (
        ("learning-rate", "Learning rate rewound, weights go on"),
        ("init", "Weights rewound to their first values"),
    ):
        chosen = [run for run in runs if run["rewind"] == rewind]
        lines += [
            "",
            f"## {meaning}",
            "",
            "| kappa | " + " | ".join(f"seed {run['seed']}" for run in chosen) + " | mean |",
        ]
        lines.append("|---" * (len(chosen) + 2) + "|")
        for index, kappa in enumerate(chosen[0]["kappa"]):
            errors = [100 * run["test_error"][index] for run in chosen]
            cells = [f"{error:.2f} %" for error in (*errors, sum(errors) / len(errors))]
            lines.append(f"| {kappa:.4f} | " + " | ".join(cells) + " |")
        if rewind == "learning-rate":
            errors = [100 * run["controls"]["dense"] for run in chosen]
            cells = [f"{error:.2f} %" for error in (*errors, sum(errors) / len(errors))]
            head = f"dense, {LAST_EPOCHS} epochs"
            lines.append(f"| {head} | " + " | ".join(cells) + " |")
    chosen = [run for run in runs if run["rewind"] == "init"]
    lines += [
        "",
        f"## Controls at {chosen[0]['n_kept']:,} of {chosen[0]['n_total']:,} weights",
        "",
        "Trained as the ticket is: from other first weights, with each layer's mask shuffled, and "
        "with as many weights drawn from all layers together.",
        "",
        "| | " + " | ".join(f"seed {run['seed']}" for run in chosen) + " |",
        "|---" * (len(chosen) + 1) + "|",
    ]
    for name in CONTROLS:
        cells = [f"{100 * run['controls'][name]:.2f} %" for run in chosen]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(out: Path, work: Path) -> None:
    """Run what is missing and write the artefacts."""
    work.mkdir(parents=True, exist_ok=True)
    data = Mnist()
    jobs = [(seed, "learning-rate") for seed in SEEDS] + [(seed, "init") for seed in INIT_SEEDS]
    runs = [rounds_of(data, seed, rewind, work) for seed, rewind in track(jobs, "pruning")]
    write_json(out / "lenet.json", runs)
    write_text(out / "lenet.md", page(runs))
    write_bytes(out / "lenet.svg", as_svg(figure(runs)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    main(folder, Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "work")
