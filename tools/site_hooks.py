"""What the site makes of pages of the repository: links that leave the documentation."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Pages from elsewhere in the repository, shown under `project`.
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add pages from outside the documentation."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        files.append(File.generated(config, f"project/{page}", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links to such pages there, and leave names of what the site does not hold."""
    del config
    source = page.file.src_uri
    at = source.removeprefix("project/") if source.startswith("project/") else f"docs/{source}"

    def led(found: re.Match[str]) -> str:
        text, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, mark, part = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(at), path))
        held = place.removeprefix("docs/") if place.startswith("docs/") else f"project/{place}"
        if files.get_file_from_path(held) is None:
            return text
        way = posixpath.relpath(held, posixpath.dirname(source) or ".")
        return f"[{text}]({way}{mark}{part})"

    return LINK.sub(led, markdown)
