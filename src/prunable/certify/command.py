"""`prunable certify` and `prunable verify`: what is guaranteed about a network."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from prunable.errors import DataIntegrityError


def certify(
    model: Annotated[Path, typer.Argument(help="Checkpoint: dense layers, or the pipeline's.")],
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
    lr: Annotated[float, typer.Option(help="Learning rate of the fine-tuning.")] = 1e-3,
    draws: Annotated[int, typer.Option(help="Networks drawn for PAC-Bayes; 0 for none.")] = 3000,
    seed: Annotated[int, typer.Option(help="Of fine-tuning and draws.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Certificate to write, with a code file beside it.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw all bounds here, as SVG.")] = None,
    unpickle: Annotated[
        bool, typer.Option("--unpickle", help="Let a pickled model run its code.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout.")] = False,
) -> None:
    """Bound the true error of a network, by every bound there is, itemised.

    The network is quantised and written as a code of a few kilobytes, whose length alone,
    with the training errors, certifies it.

    Example: prunable certify model.safetensors --data mnist --out cert.json
    """
    from prunable.certify.certificate import write_certificate
    from prunable.certify.pipeline import certify_model
    from prunable.certify.quantization import QuantizationSettings

    talk = Console(stderr=True)
    settings = QuantizationSettings(
        epochs=epochs,
        float_epochs=0,
        keep=keep,
        prune_rounds=8,
        levels=levels,
        rate=rate,
        lr=lr,
        seed=seed,
    )

    def told(epoch: int, loss: float) -> None:
        talk.print(f"epoch {epoch}: loss {loss:.4f}", highlight=False)

    certified = certify_model(
        model,
        data,
        held_out=held_out,
        delta=delta,
        settings=settings,
        draws=draws,
        unpickle=unpickle,
        on_epoch=told,
    )
    document = certified.to_dict(str(model))
    if out is not None:
        code = write_certificate(out, certified.certificate)
        document |= {"certificate": str(out), "code": str(code)}
    if figure is not None:
        from prunable.certify.figure import write_bounds_figure

        write_bounds_figure(document, figure)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _render(document)


def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERT.json", help="Certificate.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result on stdout.")] = False,
) -> None:
    """Compute a certificate anew from its code file and the data, in another process.

    That process runs under 200 lines that know numpy and nothing of this package.

    Example: prunable verify cert.json
    """
    from prunable.certify.certificate import read_certificate
    from prunable.certify.certification import verifiable_data

    document, _ = read_certificate(certificate)
    with tempfile.TemporaryDirectory() as scratch:
        source = verifiable_data(document, Path(scratch))
        done = subprocess.run(
            [sys.executable, "-m", "prunable.verify_certificate", str(certificate), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise DataIntegrityError(f"the verifier failed on {certificate}: {last[0]}") from error
    if not answer["verified"]:
        raise DataIntegrityError(f"{certificate} is not confirmed: {answer['reason']}.")
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        said = "no more than guessing" if answer["vacuous"] else "confirmed"
        typer.echo(f"{certificate}: error at most {answer['bound']:.2%}, {said}.")


def _render(document: dict[str, Any]) -> None:
    console = Console()
    title = f"{document['model']}: n = {document['n']:,}, delta = {document['delta']:g}"
    table = Table("bound", "of", title=title)
    for name in ("value", "says", "assumptions"):
        table.add_column(name, justify="right")
    for bound in document["bounds"]:
        value = bound["value"]
        log = bound["log_value"]
        shown = "inf" if log is None and value is None else f"{value:.4g}" if value else "0"
        if value is None and log is not None:
            shown = f"e^{log:.0f}"
        violated = sum(a["status"] == "violated" for a in bound["assumptions"])
        says = "certifies" if bound["certifies"] else "vacuous"
        if bound["quantity"] != "risk":
            says = bound["quantity"]
        table.add_row(
            bound["name"], bound["about"], shown, says, f"{violated} violated" if violated else "ok"
        )
    console.print(table)
    console.print(
        f"{document['network']}: {document['kept']:,} of {document['weights']:,} weights kept, "
        f"{document['bits']:,} bits. Best: {document['best']['name']} "
        f"({document['best']['about']}), {document['best']['value']:.2%}. {document['advice']}",
        highlight=False,
    )
    for skipped in document["skipped"]:
        console.print(f"skipped {skipped['name']}: {skipped['reason']}", highlight=False)
    if document.get("certificate"):
        console.print(
            f"{document['certificate']} and {document['code']}; check them with "
            f"`prunable verify {document['certificate']}`",
            soft_wrap=True,
            highlight=False,
        )
