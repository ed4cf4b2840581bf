"""`prunable simulate`: the dynamics behind the theorems, as rates with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prunable.report import terminal
from prunable.report.terminal import AsJson

if TYPE_CHECKING:
    from prunable.experiments.simulate.simulating import DynamicsSettings
    from prunable.experiments.simulate.specs import Experiment


app = typer.Typer(
    no_args_is_help=True, help="Simulate the dynamics behind the theorems; fit their rates."
)

Out = Annotated[Path, typer.Option("--out", help="Folder of rows, summary and figure.")]
Scale = Annotated[
    Literal["smoke", "laptop"], typer.Option(help="Sizes: for results, or for a quick look.")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; the numbers do not depend on it.")
]
# name: what it measures, options of its example
PARTICLES: dict[Experiment, tuple[str, str]] = {
    "chaos": (
        "Measure how fast particles approach the limit, and columns independence (theorem 4.2).",
        "--alpha 1.5 --alpha 1.9",
    ),
    "euler": (
        "Measure the error of finite steps against step and width (theorem 4.1).",
        "--noise type2",
    ),
    "moments": (
        "Measure how second moments and maxima grow (theorem 4.3, lemma B.1).",
        "--alpha 1.75 --alpha 2",
    ),
    "compression": (
        "Measure the error of pruning against size (theorem 3.1, compressibility laws).",
        "--noise type1",
    ),
}


def _particles(experiment: Experiment) -> None:
    """Register the command of one experiment on particle systems."""
    summary, options = PARTICLES[experiment]
    example = f"Example: prunable simulate {experiment} --out {experiment} {options}"

    @app.command(experiment, help=f"{summary}\n\n{example}")
    def command(
        out: Out,
        alpha: Annotated[
            list[float] | None,
            typer.Option("--alpha", help="Tail index, above 1; repeat for several."),
        ] = None,
        seeds: Annotated[int, typer.Option(help="Independent repetitions.")] = 10,
        noise: Annotated[
            Literal["type1", "type2", "type3"],
            typer.Option(help="One scalar a particle; entries; isotropic."),
        ] = "type3",
        activation: Annotated[
            Literal["tanh", "sigmoid", "relu"], typer.Option(help="Of the hidden units.")
        ] = "tanh",
        loss: Annotated[
            Literal["squared", "logistic", "cross-entropy"],
            typer.Option(help="Half squared error, logistic, softmax."),
        ] = "squared",
        scale: Scale = "laptop",
        workers: Workers = None,
        as_json: AsJson = False,
    ) -> None:
        from prunable.experiments.simulate.simulating import ALPHAS, DynamicsSettings

        alphas = tuple(alpha or ALPHAS)
        settings = DynamicsSettings(alphas, seeds, noise, activation, loss, scale)
        _run(experiment, settings, out, workers, as_json)


for _name in PARTICLES:
    _particles(_name)


@app.command("sgd-tail")
def sgd_tail(
    out: Out, scale: Scale = "laptop", workers: Workers = None, as_json: AsJson = False
) -> None:
    """Compare the exact tail index of SGD on a linear regression with simulation.

    Example: prunable simulate sgd-tail --out sgd-tail --json
    """
    from prunable.experiments.simulate.simulating import DynamicsSettings

    _run("sgd-tail", DynamicsSettings(scale=scale), out, workers, as_json)


def _run(
    experiment: Experiment,
    settings: DynamicsSettings,
    out: Path,
    workers: int | None,
    as_json: bool,
) -> None:
    from prunable.experiments.simulate.simulating import rows_of, run_experiment
    from prunable.report.simulate.dynamics import render, save_panels
    from prunable.runs.backends import backend_of

    with terminal.counted("rows", len(rows_of(experiment, settings))) as done:
        document = run_experiment(
            experiment, settings, out, backend=backend_of(workers), on_row=done
        )
    save_panels(document, out / f"{experiment}.svg")
    terminal.emit(document, as_json, lambda console: render(document, console))
    terminal.talk().print(f"rows, {experiment}.json and {experiment}.svg are in {out}")


@app.command("federated")
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
