"""Put documents of `prunable reproduce` into the documentation.

    prunable reproduce all --out reproduction
    python tools/publish_reproduction.py reproduction docs/reproduce [ITEM ...]

Each judged item of the folder (or each one named, which may be a paper or `all`) becomes a page, a
figure and its document, with the machine and the hours that its runs took; those of other items
stay, with verdicts, pages and figures by today's rules. `README.md` sums all of them up, and
`docs/claims.md` gets their verdicts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import claims
from usage import typed

from prunable.errors import InputError, PrunableError
from prunable.experiments.reproduce.document import (
    OUTCOMES,
    STATUSES,
    Convention,
    Cost,
    ItemDocument,
    as_document,
    in_order,
    judge,
    load_documents,
    shows_print,
)
from prunable.experiments.reproduce.registry import item_named, items_named
from prunable.files import read_json, write_json, write_text
from prunable.report.reproduce.pages import summary_markdown
from prunable.report.reproduce.writing import write_item
from prunable.runs.execution import EXECUTION
from prunable.runs.spec import Spec
from prunable.runs.store import Store

HEAD = """# Reproduced items

What `prunable reproduce` found; [how it works](../reproduce.md), and [which statements of the
papers](../claims.md) they stand for. A page an item: settings, departures from the paper, checks
with their evidence, our numbers beside the paper's. The JSON document of the same name holds the
specification of every run.

"""


def publish(source: Path, target: Path, names: Sequence[str] = ()) -> None:
    """Copy documents above the smoke scale, and draw them.

    names : Of items or papers; by default every one that the source holds. Raises InputError if
        the source lacks one, or holds none.
    """
    found = [doc for doc in load_documents(source) if doc.scale != "smoke"]
    if names:
        wanted = {item.name for item in items_named(names)}
        if missing := wanted - {doc.item for doc in found}:
            raise InputError(
                f"{source} has no document of {', '.join(sorted(missing))} above the smoke scale; "
                "run `prunable reproduce` for them first."
            )
        found = [doc for doc in found if doc.item in wanted]
    if not found:
        raise InputError(f"{source} has no document above the smoke scale; nothing to publish.")
    target.mkdir(parents=True, exist_ok=True)
    for doc in found:
        priced = doc.model_copy(update={"cost": cost_of(doc, Store(source))})
        write_json(target / f"{doc.stem}.json", priced.to_dict())
        write_item(priced, target)
    sum_up(target)


def cost_of(doc: ItemDocument, store: Store) -> Cost | None:
    """Machine and hours of a document's runs; None if a run left no record of them."""
    convention: Convention = "paper" if doc.convention == "paper" else "authors-code"
    plan = item_named(doc.item).plan(doc.scale, convention)
    specs = {spec.run_id: spec for spec in _with_inputs(plan.runs.values())}
    seconds, machines = 0.0, Counter[str]()
    for spec in specs.values():
        record = store.folder(spec) / EXECUTION
        if not record.exists():
            continue  # it failed, or lacks an input
        row = read_json(record)
        spent = row["seconds"] / row["runs_together"]
        seconds += spent
        where = row.get("processor", "a processor whose name was not recorded")
        device = "" if row["device"] == "cpu" else f"{row['device']}, "
        machines[f"{device}{row['processors']} processors, {where}"] += spent
    if not machines:
        return None
    named = tuple(name for name, _ in machines.most_common())
    return Cost(machines=named, hours=round(seconds / 3600, 4), runs=len(plan.runs))


def _with_inputs(specs: Iterable[Spec]) -> Iterable[Spec]:
    for spec in specs:
        yield spec
        yield from _with_inputs(spec.inputs())


def judged_anew(path: Path) -> ItemDocument:
    """A document with the verdict of today's rules; its page and figure are drawn by them too."""
    doc = as_document(read_json(path))
    prints = shows_print(doc.tables, doc.panels)
    verdict = judge(doc.scale, doc.checks, len(doc.lost), len(doc.runs), prints=prints)
    if verdict != doc.verdict:
        doc = doc.model_copy(update={"verdict": verdict})
        write_json(path, doc.to_dict())
    write_item(doc, path.parent)
    return doc


def sum_up(target: Path) -> None:
    """Write the table of all documents of a folder, with what they and their checks come to."""
    documents = in_order(judged_anew(path) for path in target.glob("*.json"))
    verdicts = Counter(doc.verdict.status for doc in documents)
    outcomes = Counter(check.outcome for doc in documents for check in doc.checks)
    essential = Counter(
        check.outcome for doc in documents for check in doc.checks if check.essential
    )
    lines = [
        f"{len(documents)} documents of {len({doc.item for doc in documents})} items: "
        + ", ".join(f"{verdicts[name]} {name}" for name in STATUSES if verdicts[name])
        + ".",
        "",
        "| outcome of a check | essential | all |",
        "|---|---|---|",
        *(f"| {name} | {essential[name]} | {outcomes[name]} |" for name in OUTCOMES),
        "",
        summary_markdown(documents, "."),
    ]
    write_text(target / "README.md", HEAD + "\n".join(lines))


def tell_readme(summary: Path, readme: Path) -> None:
    """Put the line that counts documents by verdict between the README's marks."""
    (line,) = re.findall(r"^\d+ documents of .*$", summary.read_text(), flags=re.MULTILINE)
    marks = "(<!-- score -->\n).*(\n<!-- end of score -->)"
    write_text(readme, re.sub(marks, rf"\g<1>{line}\g<2>", readme.read_text()))


if __name__ == "__main__":
    source, target, *items = typed(__doc__, 2)
    try:
        publish(Path(source), Path(target), items)
    except PrunableError as error:
        sys.exit(str(error))
    tell_readme(Path(target) / "README.md", Path("README.md"))
    claims.main()
