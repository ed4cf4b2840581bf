"""HTML pages as a browser would see them."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements, attributes, links, handlers and scripts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script" and data.strip():
            self.scripts.append(data)

    @property
    def links(self):
        return [v for name, v in self.attributes if name in ("src", "href", "data", "action")]

    @property
    def handlers(self):
        return [name for name, _ in self.attributes if name.startswith("on")]


def page_data(text):
    """The document inside a page, which lies there packed."""
    return json.loads(unpacked(text, "data"))


def unpacked(text, name):
    """What a page holds packed under a name."""
    found = re.search(f'<script type="text/plain" id="{name}">([^<]*)</script>', text)
    return gzip.decompress(base64.b64decode(found[1])).decode()
