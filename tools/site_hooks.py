"""What the site makes of pages of the repository: links that leave the documentation, notebooks."""

from __future__ import annotations

import logging
import os
import posixpath
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.prunable")

ROOT = Path(__file__).parents[1]
# Pages from elsewhere in the repository, shown under `project`.
_FOLDER = TemporaryDirectory(prefix="prunable-notebooks-")  # until the build ends
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")
# Run by every kernel first: each notebook has an empty folder of its own. Where torchvision lacks
# operators, transformers can be imported only after the former was.
FIRST = """
import os, tempfile
from prunable.nets.models.torch_extras import torch_extra
os.chdir(tempfile.mkdtemp(dir=os.environ["PRUNABLE_NOTEBOOKS"]))
torch_extra("torchvision", "notebooks")
"""
# What a browser would get from elsewhere to show a page; links are followed by people alone.
ELSEWHERE = re.compile(
    r'<(?:script|img|iframe|link(?! rel="canonical"))\b[^>]*="(?:https?:)?//[^>]*>'
)
FETCHED = re.compile(r'<script[^>]*\bsrc="https?:[^>]*>\s*</script>')
PLACE = re.compile(r'(<a [^>]*?href=")(?![a-z]+:|#)([^"#]+)(#[^"]*)?"')
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_pre_build(*, config: Any) -> None:
    """Give notebooks a place to run in, and the command that they call."""
    del config
    folder = Path(_FOLDER.name)
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    (startup / "00.py").write_text(FIRST, encoding="utf-8")
    quiet = "c.IPKernelApp.log_level = 40"  # kernels warn of connections that nobody else sees
    (startup.parent / "ipython_kernel_config.py").write_text(quiet, encoding="utf-8")
    os.environ |= {"IPYTHONDIR": str(folder), "PRUNABLE_NOTEBOOKS": str(folder), "COLUMNS": "96"}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


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


def on_page_content(html: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links of notebooks, which are rendered elsewhere; and fetch nothing for them."""
    del config
    if "jp-Notebook" not in html:
        return html
    source = page.file.src_uri

    def led(found: re.Match[str]) -> str:
        before, target, mark = found.groups()
        to = files.get_file_from_path(posixpath.normpath(f"{posixpath.dirname(source)}/{target}"))
        if to is None:
            log.warning("%s links to %s, which the site does not hold", source, target)
            return found[0]
        return f'{before}{to.url_relative_to(page.file)}{mark or ""}"'

    return PLACE.sub(led, FETCHED.sub("", html))


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Warn of a page that would fetch something: the site opens without a network."""
    del config
    for found in ELSEWHERE.findall(output):
        log.warning("%s fetches %s", page.file.src_uri, found[:200])
    return output
