"""`prunable simulate federated`: accuracy against bytes uploaded."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from prunable.report import terminal
from prunable.report.terminal import AsJson


def federated(
    context: typer.Context,
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
    keep: Annotated[float, typer.Option(help="Share that pruned messages keep.")] = 0.1,
    kappa: Annotated[float | None, typer.Option(hidden=True)] = None,
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
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; the numbers do not depend on it.")
    ] = None,
    engine: Annotated[
        Literal["runner", "flower"],
        typer.Option(help="Who carries messages; under Flower nothing is kept for a resumption."),
    ] = "runner",
    as_json: AsJson = False,
) -> None:
    """Let clients train and send pruned updates; compare bytes and accuracy with dense FedAvg.

    Writes federated.json and federated.svg. Interrupt it at will, the same command goes on
    where it stopped; with more rounds it continues.

    Example: prunable simulate federated --data mnist --partition dirichlet --out federated
    """
    from prunable.experiments.federate.comparing import compare_methods, compare_under_flower
    from prunable.experiments.federate.specs import FederatedSpec, standard_methods
    from prunable.report.simulate.federated import federated_table, save_federated_figure
    from prunable.runs.backends import backend_of

    terminal.refuse_both(context, {"kappa": "keep"})
    terminal.refuse_idle(
        context,
        {
            "workers": (engine == "runner", "--engine runner; Flower has its own"),
            "concentration": (partition == "dirichlet", "--partition dirichlet"),
        },
    )
    methods = standard_methods(
        kappa=keep if kappa is None else kappa,
        noise=noise,
        alpha=alpha,
        sigma=sigma,
        precision=precision,
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
            rounds=rounds,
            method=method,
        )
        for method in methods
    ]
    with terminal.counted("methods", len(specs)) as done:
        if engine == "flower":
            document = compare_under_flower(specs, out, on_done=done)
        else:
            document = compare_methods(specs, out, backend=backend_of(workers), on_done=done)
    save_federated_figure([document], out / "federated.svg")
    terminal.emit(document, as_json, federated_table(document).print)
