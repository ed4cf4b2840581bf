"""`prunable certify` and `prunable verify`: what is guaranteed about a network."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prunable.certify.statements import above, upwards
from prunable.errors import DataIntegrityError
from prunable.files import check_ending, check_places, check_writable
from prunable.report import terminal
from prunable.report.tables import Column, printable, table


def certify(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Checkpoint of a classifier of pictures or rows.")],
    data: Annotated[str, typer.Option(help="Data set it was trained on.")],
    net: Annotated[
        str | None,
        typer.Option(help="Which network it is: a name, MODULE:FUNCTION, torchvision:NAME, ..."),
    ] = None,
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
    student: Annotated[
        str, typer.Option(help="Small chain that learns its answers: auto, none, or c5-8,m4,d.")
    ] = "auto",
    student_epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of that student; by default 24, or 16 of pictures in colour."),
    ] = None,
    learned: Annotated[
        str,
        typer.Option(
            help="Network trained on a share of the examples: auto, none, a chain, or as --net."
        ),
    ] = "auto",
    learned_epochs: Annotated[int | None, typer.Option(help="Epochs of that network.")] = None,
    learned_lr: Annotated[float | None, typer.Option(help="Its learning rate.")] = None,
    augment: Annotated[
        bool | None, typer.Option(help="Shift and mirror its pictures; by default those in colour.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the examples that it learns from.")] = 0.5,
    states: Annotated[
        Path | None, typer.Option(help="Folder where students in training are kept, to go on.")
    ] = None,
    path: Annotated[
        int, typer.Option(help="Shares of a pruning path to certify all at once; 0 for none.")
    ] = 0,
    seed: terminal.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Certificate to write, with a code file beside it.")
    ] = None,
    figure: terminal.Figure = None,
    unpickle: terminal.Unpickle = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Bound the true error of a network: three statements in words, and every bound itemised.

    By held-out examples; by compression, a code file of a few kilobytes whose length, with the
    training errors, certifies what it decodes to; and by compression and disagreement, through a
    small student that answers like the network, which itself is not touched.

    Example: prunable certify model.safetensors --data mnist --out cert.json
    """
    from prunable.certify.certificate import write_certificate
    from prunable.certify.figure import write_bounds_figure
    from prunable.certify.learned import is_reference
    from prunable.certify.pipeline import certify_model
    from prunable.certify.quantization import QuantizationSettings
    from prunable.certify.student import Students
    from prunable.data.own import is_own

    learns = learned != "none" and held_out != "none"
    trains = (learns, "a network to learn (--learned) and held-out inputs (--held-out)")
    terminal.refuse_idle(
        context,
        {
            "learned": (
                held_out != "none" or learned == "none",
                "--held-out, whose inputs it needs",
            ),
            "student_epochs": (student != "none", "--student"),
            **dict.fromkeys(("learned_epochs", "learned_lr", "share"), trains),
            "augment": (
                learns and is_reference(learned),
                "a --learned network such as resnet20 or MODULE:FUNCTION; chains get none of it",
            ),
            "states": (learns or student != "none", "--student or --learned"),
        },
    )
    check_ending(out, "--out", "certify", ".json")
    check_ending(figure, "--figure", "certify", ".svg")
    check_places("certify", {"--out": out, "--figure": figure}, {"the checkpoint": model})
    if states is not None:
        check_writable(states / "state")
    console = terminal.talk()
    with terminal.progress("student", console) as advance:
        certified = certify_model(
            model,
            data,
            net=net,
            held_out=held_out,
            delta=delta,
            students=Students(
                student,
                student_epochs,
                learned,
                learned_epochs,
                learned_lr,
                share,
                augment,
                seed,
                states,
            ),
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
            shares=path,
            draws=draws,
            unpickle=unpickle,
            on_epoch=lambda phase, epoch, loss: console.print(
                f"{phase}, epoch {epoch}: loss {loss:.4f}"
            ),
            on_step=lambda done, total: advance(done, total, learned),
            on_estimate=lambda seconds: terminal.announce(seconds, "certifying"),
        )
    document = certified.to_dict()
    if out is not None:
        code = write_certificate(out, certified.certificate)
        document |= {"certificate": str(out), "code": str(code), "student_certificate": None}
        if certified.student is not None and certified.student is not certified.certificate:
            beside = out.with_name(f"{out.stem}-student.json")
            write_certificate(beside, certified.student)
            document["student_certificate"] = str(beside)
    if figure is not None:
        write_bounds_figure(document, figure)
    own = shlex.quote(data) if is_own(data) and ":" not in data else ""
    coded = "The student " if certified.student is certified.certificate else ""
    terminal.emit(document, as_json, lambda console: _show(document, delta, coded, own, console))
    if figure is not None:
        terminal.say(f"the figure is {figure}")


def verify(
    certificates: Annotated[list[Path], typer.Argument(metavar="CERT.json", help="Certificates.")],
    data: Annotated[
        Path | None, typer.Option(help="Your own data: .npz, a folder of pictures, or of a plugin.")
    ] = None,
    as_json: terminal.AsJson = False,
) -> None:
    """Compute certificates anew from their code files and the data, in an isolated process.

    That process runs under 250 lines that know numpy and nothing of this package. Exit status 0
    if all are verified, else 1 if one is refuted, 2 if one is malformed, 3 if data are missing.

    Example: prunable verify cert.json
    """
    from prunable.certify import verifying

    files, status = [], 0
    for path in certificates:
        try:
            found = verifying.verify(path, data)
            files.append({**found.to_dict(), "certificate": str(path)})
            said = str(found)
        except DataIntegrityError as error:
            files.append(verifying.failure(path, error))
            status, said = min(status or error.exit_code, error.exit_code), f"error: {error}"
        if not as_json:
            failed = said.startswith("error")
            typer.echo(printable(said), None if failed else terminal.results(), err=failed)
    verified = [file for file in files if file["verified"]]
    document = {
        "verified": len(verified) == len(files),
        "bound": max((file["bound"] for file in verified), default=None),
        "vacuous": any(file["vacuous"] for file in verified),
        "files": files,
    }
    terminal.emit(document, as_json)
    if status:
        raise typer.Exit(status)


def _show(document: dict[str, Any], delta: float, coded: str, own: str, console: Console) -> None:
    best = document["best"]
    for place, statement in enumerate(document["statements"], start=1):
        console.print(f"{place}. {statement['text']}", soft_wrap=True)
    console.print(f"{document['together']}\n", soft_wrap=True)
    if document["path"] is not None:
        _show_path(document["path"], console)
    table(
        [*(Column(name, words=True) for name in ("bound", "of")), "value", "says", "assumptions"],
        map(_row, document["bounds"]),
        title=f"{document['model']}: n = {document['n']:,}, delta = {delta:g}",
    ).print(console)
    console.print(
        f"{coded}{document['network']}: {document['kept']:,} of {document['weights']:,} weights "
        f"kept, {document['bits']:,} bits. Best: {best['name']} ({best['about']}), "
        f"{above(best['value'])}. {document['advice']}"
    )
    for bound in document["bounds"]:
        if bound["why"]:
            console.print(f"{_name(bound)} ({bound['about']}): {bound['why']}", soft_wrap=True)
    for skipped in document["skipped"]:
        console.print(f"skipped {skipped['name']}: {skipped['reason']}")
    if certificate := document.get("certificate"):
        student = document["student_certificate"]
        both = f"{certificate} {student}" if student else certificate
        data = f" --data {own}" if own else ""
        console.print(f"Check {certificate} with `prunable verify {both}{data}`", soft_wrap=True)


_WHOLE = ("kept", "errors", "coded_kept", "coded_errors")  # numbers, beside shares and bounds


def _show_path(path: dict[str, Any], console: Console) -> None:
    for title, names in (
        ("held-out examples", ("kept", "errors", "held_out", "anywhere", "envelope")),
        ("code of the quantised network", ("coded_kept", "coded_errors", "compression")),
    ):
        if names[0] not in path["rows"][0]:
            continue
        rows = [
            [f"{row['kappa']:.3g}"]
            + [f"{row[name]:,}" if name in _WHOLE else above(row[name]) for name in names]
            for row in path["rows"]
        ]
        table(["kappa", *names], rows, title=f"Pruning path: {title}").print(console)
    for text in path["texts"]:
        console.print(text, soft_wrap=True)


def _name(bound: dict[str, Any]) -> str:
    """Of a bound, with the reading that it is of where there are several."""
    read = bound["variant"]
    return bound["name"] if read == "paper" else f"{bound['name']}, {read.replace('-', ' ')}"


def _row(bound: dict[str, Any]) -> tuple[str, ...]:
    value, log = bound["value"], bound["log_value"]
    shown = ("inf" if log is None else f"e^{log:.0f}") if value is None else upwards(value)
    violated = sum(a["status"] == "violated" for a in bound["assumptions"])
    says = "certifies" if bound["certifies"] else "vacuous"
    if bound["quantity"] != "risk":
        says = bound["quantity"]
    return _name(bound), bound["about"], shown, says, f"{violated} violated" if violated else "ok"
