"""Tables of what was pruned, what it gained, and what rounds of pruning found."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from prunable.report.tables import Column, Table, as_number, as_percent, spread, table

Document = dict[str, Any]
SHOWN = 3  # names of what was left alone for one reason


def pruned_table(document: Document) -> Table:
    """The plan, layer by layer, and what became of the network and its files."""
    plan = document["plan"]
    rows = [
        (
            layer["name"],
            "x".join(map(str, layer["shape"])),
            f"{layer['axis'].replace('_', ' ')}s",
            f"{layer['n_kept']:,}",
            f"{layer['n_total']:,}",
            "" if layer["kappa_asked"] is None else as_number(layer["kappa_asked"], 4),
            as_number(layer["kappa"], 4),
            as_number(layer["eps"], 4),
        )
        for layer in plan["layers"]
    ]
    layer = Column("layer", words=True, code=True)
    titles = (
        layer,
        Column("shape", spare=4),
        Column("pruned", words=True, spare=5),
        Column("kept", spare=2),
        Column("of", spare=3),
        Column("asked", spare=6),
        "kappa",
        Column("eps", spare=1),
    )
    title = f"{plan['method']} pruning"
    return table(titles, rows, title=title, notes=tuple(_notes(document)))


def outputs_table(document: Document) -> Table:
    """How far the outputs of each layer move, and what its new weights gained."""
    kappas = {layer["name"]: layer["kappa"] for layer in document["plan"]["layers"]}
    rows = []
    for found in document["outputs"]:
        masked, predicted = found["masked"], found["predicted"]
        gained = 100 * (1 - predicted / masked) if masked and predicted is not None else 0.0
        numbers = (kappas[found["name"]], masked, predicted, found["measured"])
        shown = ("" if x is None else as_number(x, 4) for x in numbers)
        rows.append((found["name"], *shown, as_number(gained, 3)))
    titles = (
        Column("layer", words=True, code=True),
        Column("kappa", spare=2),
        Column("mask alone", spare=1),
        Column("predicted", spare=3),
        "measured",
        "gained, %",
    )
    return table(
        titles, rows, title="Relative l_2 errors of outputs", notes=tuple(_inputs(document))
    )


def _inputs(document: Document) -> Iterator[str]:
    found = document["calibrated"]
    kind, length = found["kind"], found["length"]
    if length is not None:
        words = "random tokens, no data" if kind.endswith("no data") else "tokens"
        kind = f"windows of {length:,} {words}"
    source = "" if kind.endswith("no data") else f" of {found['source']}"
    sender = "the pruned ones before it send" if found["in_order"] else "the dense network sends it"
    given = f"{found['n_inputs']:,} {kind}{source}"
    yield f"Calibrated with {given}; each layer is given what {sender}."
    if unreached := document["unreached"]:
        yield f"No input reached {', '.join(unreached)}: pruned by their weights."


def _notes(document: Document) -> Iterator[str]:
    plan = document["plan"]
    yield (
        f"{plan['n_parameters_kept']:,} of {plan['n_parameters']:,} planned weights kept "
        f"({as_number(100 * plan['kappa'], 4)} %); numbers that are not zero: "
        f"{document['n_nonzero_before']:,} before, {document['n_nonzero']:,} after."
    )
    if plan["budget"].get("scope") == "sensitivity":
        taken = {"logits": "scores of classes", "values": "values"}[plan["budget"]["outputs"]]
        yield f"Shared by how much each group's loss changes the outputs, taken as {taken}."
    pattern = plan["method"].partition(":")[2]
    if pattern.isdecimal() and (
        whole := [layer["name"] for layer in plan["layers"] if layer["kappa_asked"] is None]
    ):
        yield f"Left whole, for their inputs are no multiple of {pattern}: {', '.join(whole)}."
    reasons = Counter(skipped["reason"] for skipped in document["skipped"])
    for reason, count in reasons.most_common():
        names = [x["name"] for x in document["skipped"] if x["reason"] == reason]
        more = ", ..." if count > SHOWN else ""
        yield f"Left alone, {count:,}: {reason} ({', '.join(names[:SHOWN])}{more})."
    if baked := document["baked"]:
        yield (
            f"Plain parameters from now on, {len(baked):,}: what made them up is gone "
            f"({', '.join(baked[:SHOWN])}{', ...' if len(baked) > SHOWN else ''})."
        )
    if retrained := document["retrained"]:
        yield (
            f"Retrained for {_many(retrained['steps'], 'step')}: training accuracy "
            f"{retrained['train_accuracy']:.4f}."
        )
    if found := document["recalibrated"]:
        yield (
            f"BatchNorm statistics of {_many(len(found['layers']), 'layer')} estimated again from "
            f"{_many(found['n_inputs'], 'input')}; the largest shift of a mean is "
            f"{found['largest_shift']:.3g} standard deviations."
        )
    if corrected := document["corrected"]:
        yield f"{_many(len(corrected), 'bias')} took the mean of what outputs lost."
    if shrunk := document["shrunk"]:
        yield (
            f"Shrunk from {shrunk['n_parameters_before']:,} to {shrunk['n_parameters']:,} "
            f"parameters; max |exported(x) - pruned(x)| = {shrunk['max_difference']:.3g}."
        )


def _many(count: int, what: str) -> str:
    """A count in words: 1 step, 2 steps."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what}es" if what.endswith("s") else f"{count:,} {what}s"


def lost_line(constant: float, mends: Sequence[str], larger: str | None) -> str:
    """That a pruned network is as good as naming one class always, and what may help.

    >>> lost_line(0.1, ["--retrain 5"], "a larger --keep").partition(". ")[2]
    'What may help: --retrain 5, or a larger --keep.'
    """
    first = ", ".join(mends)
    helps = ", or ".join(x for x in (first, larger) if x)
    mend = f" What may help: {helps}." if helps else ""
    return (
        "The pruned network lost its decisions: naming one class always is right as often "
        f"({as_number(100 * constant, 3)} %).{mend}"
    )


def files_written(document: Document) -> Iterator[str]:
    """The files that were written, and their sizes, a line each."""
    if document["out"]:
        size = f"{document['bytes']:,} bytes ({document['storage']})"
        yield f"{document['out']}: {size}, {document['bytes_before']:,} before"
    if folder := document["folder"]:
        changed = ", ".join(f"{name} {value}" for name, value in folder["changed"].items())
        says = f"config.json says {changed}" if changed else "config.json is the old one"
        yield (
            f"{folder['path']}: loads by from_pretrained; {says}; max difference of what is read "
            f"back {folder['max_difference']:.3g}"
        )
    if onnx := document["onnx"]:
        fixed = "" if onnx["why_fixed"] is None else f"; its batch is fixed: {onnx['why_fixed']}"
        yield (
            f"{onnx['path']}: {onnx['bytes']:,} bytes (ONNX); max difference of onnxruntime "
            f"{onnx['max_difference']:.3g}{fixed}"
        )


def footprint_table(footprint: Document) -> Table:
    """A network a column: dense, pruned, exported."""
    models = footprint["models"]
    counts = {
        "parameters": "parameters",
        "non-zeros": "nonzeros",
        "bytes on disk": "disk_bytes",
        "MACs an example": "macs",
        "peak memory, bytes": "peak_bytes",
    }
    rows = [(label, *(f"{m[key]:,}" for m in models.values())) for label, key in counts.items()]
    for size in next(iter(models.values()))["milliseconds"]:
        times = (m["milliseconds"][size] for m in models.values())
        shown = (spread(as_number, time["median"], time["spread"]) for time in times)
        rows.append((f"ms at batch {size}", *shown))
    if any(m["accuracy"] is not None for m in models.values()):
        rows.append(("accuracy", *(f"{m['accuracy']:.4f}" for m in models.values())))
    notes = ["Of times the median of repeats, ± their interquartile range."]
    if (machine := footprint["machine"])["busy"]:
        notes.append(
            f"The machine was busy: other programs had {as_number(machine['others'], 2)} of "
            f"{machine['cores']} cores meanwhile. Times are longer for it, and compare with each "
            "other only."
        )
    return table(("", *models), rows, title="Before and after, measured", notes=tuple(notes))


def rounds_table(result: Document) -> Table:
    """A round a row, at the share that it trained with; then the last trainings."""
    metrics, last = result["metrics"], result["test_accuracy"]
    rows = [
        (
            str(found["round"]),
            as_percent(found["kappa"], 2),
            as_number(found["train_loss"], 4),
            as_percent(found["test_accuracy"], 2),
        )
        for found in result["rounds"]
    ]
    shares = {"dense": 1.0}
    rows += [
        (name, as_percent(shares.get(name, metrics["kappa"]), 2), "", as_percent(accuracy, 2))
        for name, accuracy in last.items()
    ]
    return table(
        ("round", "weights, %", "training loss", "test accuracy, %"),
        rows,
        title="Iterative pruning",
        notes=(f"Kept {metrics['n_kept']:,} of {metrics['n_total']:,} weights.",),
    )


def evaluated_table(document: dict[str, Any]) -> Table:
    """The perplexity, and how it was measured."""
    length, stride = document["length"], document["stride"]
    apart = "one after the other" if stride == length else f"each {stride:,} after the last"
    notes = (
        f"{document['n_tokens']:,} tokens scored, in {document['n_windows']:,} windows of "
        f"{length:,} of the {document['n_tokens_of_text']:,} tokens of {document['text']}, from "
        f"its start, {apart}; the first token of a window is given. Tokenizer: "
        f"{document['tokenizer']}.",
    )
    row = (document["model"], f"{document['perplexity']:.2f}", as_number(document["nats"], 5))
    titles = (Column("model", words=True, code=True), "perplexity", "nats a token")
    return table(titles, [row], title="Perplexity", notes=notes)
