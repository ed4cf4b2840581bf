"""`prunable certify` and `prunable verify`: what is guaranteed about a network."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prunable.report.tables import Column, table
from prunable.report.terminal import AsJson, Figure, Seed, Unpickle, emit, talk


def certify(
    model: Annotated[Path, typer.Argument(help="Checkpoint: dense layers, or the study's.")],
    data: Annotated[str, typer.Option(help="Data set it was trained on.")],
    held_out: Annotated[
        str, typer.Option(help="Examples it never met: test, none, or another data set.")
    ] = "test",
    delta: Annotated[float, typer.Option(help="Probability that a bound fails.")] = 0.05,
    epochs: Annotated[
        int, typer.Option(help="Epochs of fine-tuning to integers, and of pruning before.")
    ] = 5,
    levels: Annotated[int, typer.Option(help="Largest magnitude of an integer.")] = 3,
    rate: Annotated[float, typer.Option(help="Price of a bit in the loss.")] = 1e-4,
    keep: Annotated[float, typer.Option(help="Share of weights to keep, pruned globally.")] = 1.0,
    lr: Annotated[float, typer.Option(help="Step size of the fine-tuning.")] = 1e-3,
    draws: Annotated[int, typer.Option(help="Networks drawn for PAC-Bayes; 0 for none.")] = 3000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Certificate to write, with a code file beside it.")
    ] = None,
    figure: Figure = None,
    unpickle: Unpickle = False,
    as_json: AsJson = False,
) -> None:
    """Bound the true error of a network, by every bound there is, itemised.

    The network is quantised and written as a code of a few kilobytes, whose length alone,
    with the training errors, certifies it.

    Example: prunable certify model.safetensors --data mnist --out cert.json
    """
    from prunable.certify.certificate import write_certificate
    from prunable.certify.figure import write_bounds_figure
    from prunable.certify.pipeline import certify_model
    from prunable.certify.quantization import QuantizationSettings

    console = talk()
    certified = certify_model(
        model,
        data,
        held_out=held_out,
        delta=delta,
        settings=QuantizationSettings.create(
            epochs=epochs,
            float_epochs=0,
            keep=keep,
            prune_rounds=8,
            levels=levels,
            rate=rate,
            lr=lr,
            seed=seed,
        ),
        draws=draws,
        unpickle=unpickle,
        on_epoch=lambda epoch, loss: console.print(f"epoch {epoch}: loss {loss:.4f}"),
    )
    document = certified.to_dict()
    if out is not None:
        code = write_certificate(out, certified.certificate)
        document |= {"certificate": str(out), "code": str(code)}
    if figure is not None:
        write_bounds_figure(document, figure)
    emit(document, as_json, lambda console: _show(document, console))


def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERT.json", help="Certificate.")],
    as_json: AsJson = False,
) -> None:
    """Compute a certificate anew from its code file and the data, in another process.

    That process runs under 200 lines that know numpy and nothing of this package.

    Example: prunable verify cert.json
    """
    from prunable.certify import verifying

    found = verifying.verify(certificate)
    emit(found.to_dict(), as_json, lambda console: console.print(str(found), soft_wrap=True))


def _show(document: dict[str, Any], console: Console) -> None:
    best = document["best"]
    table(
        [*(Column(name, words=True) for name in ("bound", "of")), "value", "says", "assumptions"],
        map(_row, document["bounds"]),
        title=f"{document['model']}: n = {document['n']:,}, delta = {document['delta']:g}",
    ).print(console)
    console.print(
        f"{document['network']}: {document['kept']:,} of {document['weights']:,} weights kept, "
        f"{document['bits']:,} bits. Best: {best['name']} ({best['about']}), "
        f"{best['value']:.2%}. {document['advice']}"
    )
    for skipped in document["skipped"]:
        console.print(f"skipped {skipped['name']}: {skipped['reason']}")
    if certificate := document.get("certificate"):
        console.print(
            f"{certificate} and {document['code']}; check them with "
            f"`prunable verify {certificate}`",
            soft_wrap=True,
        )


def _row(bound: dict[str, Any]) -> tuple[str, ...]:
    value, log = bound["value"], bound["log_value"]
    if value is None:
        shown = "inf" if log is None else f"e^{log:.0f}"
    else:
        shown = f"{value:.4g}" if value else "0"
    violated = sum(a["status"] == "violated" for a in bound["assumptions"])
    says = "certifies" if bound["certifies"] else "vacuous"
    if bound["quantity"] != "risk":
        says = bound["quantity"]
    return bound["name"], bound["about"], shown, says, f"{violated} violated" if violated else "ok"
