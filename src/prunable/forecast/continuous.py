"""Advice for machines that integrate: JUnit files, and lines and summaries of GitHub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from prunable.files import write_bytes

Document = dict[str, Any]
LEVELS = {"ACCEPT": "notice", "UNSURE": "warning", "INFEASIBLE": "error"}


def write_junit(path: Path, document: Document) -> None:
    """One test case: passed if accepted, failed if infeasible, an error if unsure."""
    name = f"{document['model']} loses at most {document['at_most_loss']:g}"
    verdict = document["verdict"]
    counts = {
        "tests": "1",
        "failures": str(int(verdict == "INFEASIBLE")),
        "errors": str(int(verdict == "UNSURE")),
    }
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "prunable advise", **counts})
    case = ElementTree.SubElement(suite, "testcase", {"classname": "prunable", "name": name})
    kind = {"INFEASIBLE": "failure", "UNSURE": "error"}.get(verdict)
    if kind is not None:
        said = {"message": document["said"], "type": verdict}
        ElementTree.SubElement(case, kind, said)
    ElementTree.SubElement(case, "system-out").text = document["said"]
    write_bytes(path, ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))


def github_line(document: Document) -> str:
    """A workflow command of GitHub that shows the verdict at the run."""
    return f"::{LEVELS[document['verdict']]} title=prunable advise::{_escaped(_sentence(document))}"


def add_summary(document: Document) -> None:
    """Add a line to the summary of a GitHub job, where there is one."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        command = f"\n\n```\n{document['command']}\n```" if document["command"] else ""
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(f"### prunable advise\n\n{_sentence(document)}{command}\n")


def _sentence(document: Document) -> str:
    return f"{document['verdict']} {document['model']}: {document['said']}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
