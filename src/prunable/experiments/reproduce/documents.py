"""An item's findings and verdict as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prunable.experiments.reproduce.items import Findings, Item, Plan, Result, Scale
from prunable.experiments.reproduce.registry import papers

Document = dict[str, Any]


def item_document(item: Item, plan: Plan, results: Mapping[str, Result]) -> Document:
    """Gather an item's document from the results of its runs.

    Parameters
    ----------
    item : Item
    plan : Plan
    results : mapping of str to dict
        Stored results, or rows of failed runs, by the plan's keys.

    Returns
    -------
    dict
        item, paper, kind, label, title, claim, scale, convention, settings, plan_notes,
        notes, tables, panels, checks, verdict, runs. It holds neither times nor paths.
    """
    findings = item.gather(plan, results)
    unfinished = [key for key, result in results.items() if result["status"] != "done"]
    return {
        "item": item.name,
        "paper": item.paper,
        "paper_info": papers()[item.paper].info(),
        "kind": item.kind,
        "label": item.label,
        "title": item.title,
        "claim": item.claim,
        "scale": plan.scale,
        "convention": plan.convention,
        "settings": dict(plan.settings),
        "plan_notes": list(plan.notes),
        **asdict(findings),
        "verdict": verdict(plan.scale, findings, len(unfinished), len(results)),
        "runs": [
            {
                "key": key,
                "id": spec.run_id,
                "kind": spec.kind(),
                "status": results[key]["status"],
                "reason": results[key]["reason"],
                "spec": spec.model_dump(mode="json"),
            }
            for key, spec in plan.runs.items()
        ],
    }


def verdict(scale: Scale, findings: Findings, unfinished: int, runs: int) -> dict[str, str]:
    """Judge an item by its checks.

    Parameters
    ----------
    scale : {"smoke", "laptop", "paper"}
        Nothing is judged at "smoke".
    findings : Findings
    unfinished, runs : int
        Runs without a usable result, of how many.

    Returns
    -------
    dict
        `status`: "reproduced" if every check holds, "not reproduced" if no essential one
        does, "partly" otherwise, "not judged" without evidence; and `why`.
    """
    if scale == "smoke":
        return {"status": "not judged", "why": "a smoke run says nothing about the paper"}
    judged = [check for check in findings.checks if check.holds is not None]
    lost = f"; {unfinished} of {runs} runs have no usable result" if unfinished else ""
    if not judged:
        return {"status": "not judged", "why": f"no check has evidence{lost}"}
    essential = [check for check in judged if check.essential] or judged
    held = sum(bool(check.holds) for check in judged)
    if held == len(findings.checks):
        status = "reproduced"
    elif not any(check.holds for check in essential):
        status = "not reproduced"
    else:
        status = "partly"
    return {"status": status, "why": f"{held} of {len(findings.checks)} checks hold{lost}"}
