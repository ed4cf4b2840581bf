"""Write docs/claims.md: every numbered statement of the four papers, and what stands for it here.

    python tools/claims.py

The facts are in docs/claims/PAPER.toml, a table a claim: `number` and `where` in the paper, what
it `says`, the functions (`code`), `tests` and `items` that stand for it, whether its formula is
`reconstructed`, and a `note`. Verdicts are read from the documents in docs/reproduce.
"""

from __future__ import annotations

import ast
import pkgutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from usage import typed

from prunable.experiments.reproduce.document import ItemDocument, as_document
from prunable.experiments.reproduce.registry import all_items, papers, studies
from prunable.files import read_json, write_text
from prunable.report.tables import plain

ROOT = Path(__file__).parents[1]
FACTS, PAGE, DOCUMENTS = (ROOT / "docs" / name for name in ("claims", "claims.md", "reproduce"))
HEAD = """# Claims

Every numbered statement of the four papers with what stands for it here, written by
`python tools/claims.py` from [claims/](claims/): the functions that compute it, the tests that hold
them, the items that reproduce it and their verdicts at the scales that were run. *Reconstructed*:
the text at hand had lost its formulas; ours are derived from its words, its proofs and the released
code, and are not presented as print. A dash in place of a function says that there is none; the
note says why.
"""


@dataclass(frozen=True)
class Claim:
    """A statement of a paper.

    code : Dotted names of functions and classes.
    tests : Ids as pytest takes them, "FILE::NAME" or "FILE::CLASS::NAME".
    items : Names of items or studies.
    """

    number: str
    where: str
    says: str
    code: str | list[str] = ""
    tests: str | list[str] = ""
    items: str | list[str] = ""
    reconstructed: bool = False
    note: str = ""


def several(value: str | list[str]) -> list[str]:
    """One name, or several, as a list."""
    return value if isinstance(value, list) else [value] if value else []


def claims() -> dict[str, list[Claim]]:
    """Claims of each paper by its key, by year."""
    found = {}
    for key in sorted(papers(), key=lambda key: (papers()[key].year, key)):
        rows = tomllib.loads((FACTS / f"{key}.toml").read_text("utf-8"))["claim"]
        found[key] = [Claim(**row) for row in rows]
    return found


def faults(claim: Claim) -> list[str]:
    """What is wrong with a claim: names that lead nowhere, or nothing that stands for it."""
    wrong = []
    for name in several(claim.code):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            wrong.append(f"{claim.number}: there is no {name} ({error})")
    wrong += [
        f"{claim.number}: there is no test {test}"
        for test in several(claim.tests)
        if not has_test(test)
    ]
    known = {item.name for item in all_items()} | studies().keys()
    wrong += [
        f"{claim.number}: there is no item {name}"
        for name in several(claim.items)
        if name not in known
    ]
    if not claim.note and not (claim.code and claim.tests):
        wrong.append(f"{claim.number}: without a function and a test it needs a note that says why")
    return wrong


def has_test(test: str) -> bool:
    """Whether a file has the test of an id."""
    name, *path = test.split("::")
    file = ROOT / name
    if not path or not file.is_file():
        return False
    body: list[ast.stmt] = ast.parse(file.read_text("utf-8")).body
    for part in path:
        inner = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ]
        if not inner:
            return False
        body = inner[0].body
    return path[-1].startswith("test_")


def page(documents: Path = DOCUMENTS) -> str:
    """The page, from the facts and the documents of a folder."""
    by_item: dict[str, list[ItemDocument]] = {}
    for path in sorted(documents.glob("*.json")):
        document = as_document(read_json(path))
        by_item.setdefault(document.item, []).append(document)
    parts = [HEAD]
    for key, rows in claims().items():
        paper = papers()[key]
        bare = sum(not row.code for row in rows)
        parts.append(
            f"## {paper.short}: {paper.title}\n\n{len(rows)} statements, {bare} without a "
            "function.\n\n| statement | what it says | function | test | item: verdict |\n"
            "|---|---|---|---|---|"
        )
        parts += ["| " + " | ".join(_cells(row, by_item)) + " |" for row in rows]
        parts.append("")
    return "\n".join(parts)


def _cells(claim: Claim, documents: dict[str, list[ItemDocument]]) -> Iterable[str]:
    marks = [plain(claim.says)]
    marks += ["*reconstructed*"] if claim.reconstructed else []
    marks += [f"*{plain(claim.note)}*"] if claim.note else []
    yield f"{claim.number} ({claim.where})"
    yield ". ".join(mark.rstrip(".") for mark in marks)
    yield "<br>".join(f"`{name.removeprefix('prunable.')}`" for name in several(claim.code)) or "-"
    yield "<br>".join(_test(test) for test in several(claim.tests)) or "-"
    yield "<br>".join(_verdicts(name, documents.get(name, [])) for name in several(claim.items))


def _test(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name.replace('_', chr(92) + '_')}](../{file})"


def _verdicts(name: str, documents: list[ItemDocument]) -> str:
    found = [
        f"[{document.verdict.status}](reproduce/{document.stem}.md)"
        + ("" if document.convention == "paper" else f" ({document.convention})")
        for document in documents
    ]
    return f"{name}: {', '.join(found) or 'not run'}"


def main() -> None:
    """Write the page; stop at the first fault."""
    if wrong := [fault for rows in claims().values() for row in rows for fault in faults(row)]:
        raise SystemExit("\n".join(wrong))
    write_text(PAGE, page())


if __name__ == "__main__":
    typed(__doc__, 0, 0)
    main()
