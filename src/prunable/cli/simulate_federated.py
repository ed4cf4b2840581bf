"""`prunable simulate federated`: accuracy against bytes uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def federated(
    out: Annotated[Path, typer.Option(help="Folder of the runs and results.")],
    data: Annotated[str, typer.Option(help="Data set; see `prunable data list`.")] = "mnist",
    clients: Annotated[int, typer.Option(help="How many.")] = 10,
    rounds: Annotated[int, typer.Option(help="How many in all.")] = 20,
    partition: Annotated[
        Literal["iid", "dirichlet"], typer.Option(help="How examples are dealt out.")
    ] = "iid",
    concentration: Annotated[
        float, typer.Option(help="Of dirichlet; the smaller the more clients differ.")
    ] = 0.3,
    kappa: Annotated[float, typer.Option(help="Share that pruned messages keep.")] = 0.1,
    precision: Annotated[
        Literal["float32", "float16"], typer.Option(help="Of the values of pruned messages.")
    ] = "float32",
    noise: Annotated[
        Literal["type1", "type2", "type3"], typer.Option(help="Of heavy-tailed clients.")
    ] = "type1",
    alpha: Annotated[float, typer.Option(help="Tail index of the noise, in (0, 2].")] = 1.8,
    sigma: Annotated[float, typer.Option(help="Level of the noise.")] = 3e-4,
    net: Annotated[str, typer.Option(help="Architecture; see `prunable train`.")] = "two-layer",
    width: Annotated[int, typer.Option(help="Hidden units, channels.")] = 200,
    lr: Annotated[float, typer.Option(help="Learning rate of the clients.")] = 0.1,
    epochs: Annotated[int, typer.Option(help="Passes over a client's examples a round.")] = 1,
    batch: Annotated[int, typer.Option(help="Examples a step.")] = 50,
    seed: Annotated[int, typer.Option(help="Of partition, weights, batches and noise.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print federated.json on stdout.")
    ] = False,
) -> None:
    """Let clients train and send pruned updates; compare bytes and accuracy with dense FedAvg.

    Writes federated.json and federated.svg. Interrupt it at will, the same command goes on
    where it stopped; with more rounds it continues.

    Example: prunable simulate federated --data mnist --partition dirichlet --out federated
    """
    from prunable.experiments.federate.federated_results import compare_methods
    from prunable.experiments.federate.federated_specs import FederatedSpec, standard_methods
    from prunable.files import write_json
    from prunable.nets.models import known_net
    from prunable.report.simulate.federated_figures import save_federated_figure
    from prunable.report.simulate.federated_tables import federated_table
    from prunable.runs.store import Store

    known_net(net)
    methods = standard_methods(
        kappa=kappa, noise=noise, alpha=alpha, sigma=sigma, precision=precision
    )
    specs = [
        FederatedSpec.create(
            dataset=data,
            net=net,
            width=width,
            clients=clients,
            partition=partition,
            concentration=concentration,
            lr=lr,
            epochs=epochs,
            batch_size=batch,
            seed=seed,
            method=method,
        )
        for method in methods
    ]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    talk = Console(stderr=True)
    with Store(out).locked(), Progress(*columns, console=talk) as progress:
        task = progress.add_task("rounds", total=len(specs) * rounds)

        def told(spec: FederatedSpec, row: dict[str, Any]) -> None:
            del row
            progress.update(task, advance=1, description=spec.method.label)

        document = compare_methods(specs, rounds, out, on_round=told)
        write_json(out / "federated.json", document)
        save_federated_figure([document], out / "federated.svg")
    if as_json:
        typer.echo(json.dumps(document))
    else:
        Console().print(federated_table(document))
