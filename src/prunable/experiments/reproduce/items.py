"""How to declare an item: a table or figure of a paper, or a study.

1. **Plan**: `plan(scale, convention) -> Plan` names its runs "CONDITION/SEED" -> `Spec`. The
   settings of each scale are data (a table of frozen settings), conditions a list.
2. **Frame**: results become one tidy frame (`frame.Found.frame`): condition, seed, metric, value;
   a paper gives `measure` only where a result holds more than numbers under `metrics`.
3. **Published numbers** stand in `papers/NAME.json` (`published.Published`): cells by row and
   column, what text and axes state, what we inferred, slips of the print.
4. **Tables** are `tables.TableSpec(title, columns, lines)`: a line names its condition and the
   published row beside it, a column its metric, statistic and published column.
5. **Claims** are functions of `Found` that give a `Check`, made by `checks`: `agrees`, `ordered`,
   `exceeds`, `at_most`, ... Every comparison with a published number stays at every scale: at a
   reduced size it is shown as such (`checks.at_reduced_size`), never dropped. An item whose tables
   or figures show printed numbers needs an essential check against them (`Check.printed`, set by
   `near`, `agrees` and `with_print`), or it is never reproduced.
6. **Gather** puts 2 to 5 together; an `Item` names a plan and a gather. Where a part depends on
   the results beyond that, it is a function of `Found`.

An item belongs to a `registry.Paper` (entry point group `prunable.papers`), or is a study (group
`prunable.studies`, an `Item` or a tuple of them, with `paper=None` and `kind="study"`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.frame import Found, Measure, Result, numbers
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import TableSpec


@dataclass(frozen=True)
class Gather:
    """From a plan and its results to findings, by declarations.

    tables : A function of `Found` gives a table, or None where there is nothing to show.
    panels : Functions of `Found`, each one panel or several.
    claims : Functions of `Found`, each one check or several.
    notes : Functions of `Found`, each sentences; runs that are lost are named before.
    view : The subclass of `Found` that these functions take, with a paper's own questions.
    """

    tables: tuple[TableSpec | Callable[..., document.Table | None], ...] = ()
    panels: tuple[Callable[..., document.Panel | Iterable[document.Panel]], ...] = ()
    claims: tuple[Callable[..., document.Check | Iterable[document.Check]], ...] = ()
    notes: tuple[Callable[..., Iterable[str]], ...] = ()
    measure: Measure = numbers
    view: type[Found] = Found

    def __call__(self, plan: Plan, results: Mapping[str, Result]) -> document.Findings:
        """Gather an item's findings; pure."""
        found = self.view(plan, results, self.measure)
        tables = (part(found) for part in self.tables)
        panels = (part(found) for part in self.panels)
        claims = (part(found) for part in self.claims)
        return document.Findings(
            tuple(table for table in tables if table is not None),
            tuple(
                p
                for made in panels
                for p in ((made,) if isinstance(made, document.Panel) else made)
            ),
            tuple(
                c
                for made in claims
                for c in ((made,) if isinstance(made, document.Check) else made)
            ),
            (*found.lost(), *(note for part in self.notes for note in part(found))),
        )


@dataclass(frozen=True)
class Item:
    """A table or figure of a paper, or a study.

    name : Such as "wan2023-table1" or "study-phase".
    paper : Key of the paper; None of a study.
    label : As the paper numbers it; what a study is called.
    title, claim : What it shows, and the statement it makes.
    plan : From scale and convention to the plan.
    gather : From the plan and the results by its keys to the findings; pure. See `Gather`.
    conventions : Those that it distinguishes.
    """

    name: str
    paper: str | None
    kind: document.Kind
    label: str
    title: str
    claim: str
    plan: Callable[[document.Scale, document.Convention], Plan]
    gather: Callable[[Plan, Mapping[str, Result]], document.Findings]
    conventions: tuple[document.Convention, ...] = ("paper",)

    @classmethod
    def of(
        cls,
        paper: str,
        label: str,
        title: str,
        claim: str,
        plan: Callable[[document.Scale, document.Convention], Plan],
        gather: Callable[[Plan, Mapping[str, Result]], document.Findings],
        conventions: tuple[document.Convention, ...] = ("paper",),
    ) -> Item:
        """An item of a paper, named by its label: "Figure 1" of "wan2023" is wan2023-fig1."""
        kind: document.Kind = "figure" if label.startswith("Figure ") else "table"
        name = f"{paper}-{label.lower().replace('figure ', 'fig').replace('table ', 'table')}"
        return cls(name, paper, kind, label, title, claim, plan, gather, conventions)


def item_document(
    item: Item, paper: document.PaperInfo | None, plan: Plan, results: Mapping[str, Result]
) -> document.ItemDocument:
    """An item's document from the results of its runs (stored, or rows of failed ones) by key."""
    findings = item.gather(plan, results)
    unfinished = sum(result["status"] != "done" for result in results.values())
    return document.ItemDocument(
        item=item.name,
        paper=item.paper,
        paper_info=paper,
        kind=item.kind,
        label=item.label,
        title=item.title,
        claim=item.claim,
        scale=plan.scale,
        convention=plan.convention,
        settings=dict(plan.settings),
        plan_notes=plan.notes,
        notes=findings.notes,
        tables=findings.tables,
        panels=findings.panels,
        checks=findings.checks,
        verdict=document.judge(
            plan.scale,
            findings.checks,
            unfinished,
            len(results),
            prints=document.shows_print(findings.tables, findings.panels),
        ),
        runs=tuple(
            document.RunInfo(
                key=key,
                id=spec.run_id,
                kind=spec.kind(),
                status=results[key]["status"],
                reason=results[key]["reason"],
                spec=spec.model_dump(mode="json"),
            )
            for key, spec in plan.runs.items()
        ),
    )
