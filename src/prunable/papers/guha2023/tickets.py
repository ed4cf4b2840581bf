"""Theorems 6.1 and 6.2 on the lottery study's tickets: counts, conditions, bounds, distances."""

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from prunable.certify.bounds.lottery import target_conditions, ticket_bound, ticket_of
from prunable.certify.bounds.naive_counting import weights_bound
from prunable.certify.network_bounds import facts_of_model, margins_of
from prunable.experiments.prune.iterating import TICKET
from prunable.experiments.prune.lottery_study import STUDY as LOTTERY
from prunable.experiments.prune.specs import IterateSpec
from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import every
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.train import stages as training
from prunable.experiments.train.networks import as_tensors
from prunable.nets.archive import load_tensors
from prunable.nets.prune.tickets import apply_ticket_, load_ticket
from prunable.nets.train.training import predict
from prunable.papers.guha2023.found import PAPER
from prunable.runs.spec import Spec
from prunable.runs.store import Run

Result = dict[str, Any]
# Natural logarithms of bounds on the risk of a ticket, by their keys in a result.
BOUNDS = {
    "theorem": "theorem 6.2, constant 1, as reconstructed",
    "dense": "all weights counted, 32 bits each",
    "kept": "mask and kept weights counted, 32 bits each",
}


class TicketBoundSpec(Spec):
    """Takes a trained ticket for the target of theorem 6.1, and evaluates theorem 6.2 on it."""

    stage: ClassVar[str] = "prunable.papers.guha2023.tickets:bound_stage"

    ticket: IterateSpec
    delta: float = Field(default=0.05, gt=0, lt=1)

    def estimated_seconds(self) -> float:
        return 10.0


def bound_stage(spec: TicketBoundSpec, run: Run) -> Result:
    """Evaluate the theorems on one ticket, and its first weights under its mask.

    Gives n, kept and weights (of the ticket and of its network), active (weights that theorem 6.1
    counts with constant 1), eps, width (hidden units of its random network), conditions (name,
    factor by which it is missed, 1 if it holds); logs (natural logarithms of the bounds); errors
    (train and test of the trained ticket, untrained: test before training); distance (the largest
    change of a logit by the training, on a training example).
    """
    folder, data = run.folder_of(spec.ticket), training.dataset_of(spec.ticket)
    x, y, x_test, y_test = as_tensors(data)
    x, x_test = x / spec.ticket.unit, x_test / spec.ticket.unit
    first, trained = (training.new_network(spec.ticket, data) for _ in range(2))
    apply_ticket_(first, load_ticket(folder / TICKET))
    trained.load_state_dict(load_tensors(folder / training.MODEL)[0])
    facts = facts_of_model(trained, x, y)
    ticket = ticket_of(facts)
    bounds = {
        "theorem": ticket_bound(facts, delta=spec.delta),
        "dense": weights_bound(facts, delta=spec.delta),
        "kept": weights_bound(facts, delta=spec.delta, pruned_margins=facts.margins),
    }
    conditions = target_conditions(facts.layers)
    return {
        "n": facts.n,
        "kept": facts.pruned_kept,
        "weights": facts.weights,
        "active": ticket.weights().value,
        "eps": ticket.approximation,
        "width": ticket.width,
        "conditions": [[c.name, math.exp(max(c.excess or 0.0, 0.0))] for c in conditions],
        "logs": {name: bound.log_value for name, bound in bounds.items()},
        "errors": {
            "train": float((facts.margins <= 0).mean()),
            "test": float((margins_of(trained, x_test, y_test) <= 0).mean()),
            "untrained": float((margins_of(first, x_test, y_test) <= 0).mean()),
        },
        "distance": float((predict(trained, x) - predict(first, x)).abs().max()),
    }


def _plan(scale: document.Scale, convention: document.Convention) -> Plan:
    lottery = LOTTERY.plan(scale, convention)
    runs = {
        key: TicketBoundSpec.create(ticket=spec)
        for key, spec in lottery.runs.items()
        if isinstance(spec, IterateSpec) and key.startswith("weights/")
    }
    notes = (
        "The trained ticket is the target network, of which theorem 6.1 finds a subnetwork in a "
        "random network; eps is a third of the margin, constants of O(.) are 1, biases left out.",
        "Theorem 6.2 is reconstructed from a text that had lost its formulas.",
    )
    return Plan(scale, convention, runs, lottery.settings, notes)


def _rows(found: Found) -> list[tuple[str, Result]]:
    return list(found.usable.items())


def _table(found: Found) -> document.Table | None:
    columns = (
        document.Column("ticket", "ticket"),
        document.Column("kept", "weights kept", digits=0),
        document.Column("weights", "of", digits=0),
        document.Column("active", "theorem 6.1 counts", digits=0),
        document.Column("width", "random units D_G", digits=0),
        document.Column("spectral", "||W||_2 over 1", digits=2),
        document.Column("entry", "max |W| over 1/sqrt(n_in)", digits=2),
        *(
            document.Column(name, f"ln of bound: {label}", digits=2)
            for name, label in BOUNDS.items()
        ),
        document.Column("untrained", "test error before training", "%", 2),
        document.Column("test", "test error", "%", 2),
        document.Column("eps", "eps", digits=3),
        document.Column("distance", "largest change of a logit by training", digits=2),
    )
    rows = []
    for key, row in _rows(found):
        counts = (row["kept"], row["weights"], row["active"], row["width"])
        missed = (factor for _, factor in row["conditions"])
        logs = (row["logs"][name] for name in BOUNDS)
        errors = (row["errors"]["untrained"], row["errors"]["test"], row["eps"], row["distance"])
        runs = (found.plan.runs[key].run_id,)
        values = (key.rpartition("/")[2], *counts, *missed, *logs, *errors)
        rows.append(tuple(document.Cell(value, runs=runs) for value in values))
    title = "Tickets as targets of theorems 6.1 and 6.2"
    return document.Table(title, columns, tuple(rows)) if rows else None


def _panel(found: Found) -> document.Panel:
    lines = [
        document.Series(
            f"ticket {key.rpartition('/')[2]}",
            tuple(map(float, range(len(BOUNDS)))),
            tuple(row["logs"][name] for name in BOUNDS),
            style="bars",
            labels=tuple(BOUNDS.values()),
        )
        for key, row in _rows(found)
    ]
    return document.Panel(
        "Bounds on the risk of a ticket", "bound", "natural logarithm", tuple(lines)
    )


def _claims(found: Found) -> Iterator[document.Check]:
    rows = _rows(found)
    yield every(
        "Theorem 6.2 says something of the ticket: its bound is below 1",
        rows,
        lambda row: row["logs"]["theorem"] < 0,
        lambda row: f"{math.exp(row['logs']['theorem']):.3g}",
    )
    yield every(
        "Theorem 6.2 is below counting the ticket's own mask and weights",
        rows,
        lambda row: row["logs"]["theorem"] < row["logs"]["kept"],
        lambda row: (
            f"logarithms {row['logs']['theorem']:.2f} and {row['logs']['kept']:.2f}; theorem 6.1 "
            f"counts {row['active']:,.0f} active weights, the ticket keeps {row['kept']:,}"
        ),
    )
    yield every(
        "The ticket meets the theorem's conditions on the target",
        rows,
        lambda row: all(factor == 1 for _, factor in row["conditions"]),
        lambda row: "; ".join(
            f"{name} missed {factor:.3g} times" for name, factor in row["conditions"]
        ),
    )
    yield every(
        "The mask on the first weights stands for the trained ticket within eps, as the subnetwork "
        "that theorem 6.1 finds would",
        rows,
        lambda row: row["distance"] <= row["eps"],
        lambda row: (
            f"logits differ by {row['distance']:.3g}, eps is {row['eps']:.3g}; test errors "
            f"{row['errors']['untrained']:.4f} and {row['errors']['test']:.4f}"
        ),
    ).aside()


ITEM = Item(
    name=f"{PAPER}-theorem62",
    paper=PAPER,
    kind="table",
    label="Theorem 6.2",
    title="Theorems 6.1 and 6.2 on trained lottery tickets",
    claim="A lottery ticket generalizes by the sketches of a random network's active weights.",
    plan=_plan,
    gather=Gather((_table,), (_panel,), (_claims,)),
)
