"""A page of the site that would fetch something is named, which fails a strict build."""

import logging
from types import SimpleNamespace

import pytest

pytest.importorskip("mkdocs")

from tools import site_hooks

PAGE = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))


@pytest.mark.parametrize(
    ("html", "fetches"),
    [
        ('<script src="https://a.b/c.js"></script>', True),
        ('<link href="//a.b/c.css" rel="stylesheet">', True),
        ('<img alt="x" src="http://a.b/c.png">', True),
        ('<a href="https://a.b">there</a>', False),
        ('<link rel="canonical" href="https://a.b/page.html">', False),
        ('<img src="networks.svg"><script src="assets/a.js"></script>', False),
    ],
)
def test_what_a_page_fetches_is_named(caplog, html, fetches):
    with caplog.at_level(logging.WARNING, logger="mkdocs.prunable"):
        assert site_hooks.on_post_page(html, page=PAGE, config=None) == html
    assert ("page.md fetches" in caplog.text) is fetches
