"""HTML pages as a browser would see them."""

import json
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
    """The document inside a page: its first script that is JSON."""
    return json.loads(next(script for script in Page(text).scripts if script.startswith("{")))
