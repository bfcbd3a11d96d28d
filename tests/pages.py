"""What is in an HTML page, for the tests of reports."""

import html.parser
import re
from typing import NamedTuple

VOID = {"meta", "img", "br", "hr", "link", "path", "use", "rect"}


class Tag(NamedTuple):
    name: str
    attributes: dict


class Page(html.parser.HTMLParser):
    """Its tags, its text, and whether each tag is closed."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(Tag(tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(Tag(tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        """The text in one line, with plain spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def of(self, *names):
        return [tag for tag in self.tags if tag.name in names]

    @property
    def alternatives(self):
        """The alternative text of each picture."""
        return [
            tag.attributes.get("alt" if tag.name == "img" else "aria-label", "")
            for tag in self.of("svg", "img")
        ]
