"""Writes the page of an invented run, and takes it apart again."""

from html.parser import HTMLParser
from pathlib import Path

from report_artifacts import Run

from bbqrec_core.profile import load_profile
from bbqrec_core.report.stage import write_page

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Structure(HTMLParser):
    """Checks that tags are balanced, and collects what tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.data: list[tuple[float, str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        assert tag in VOID or "svg" in self.open, f"<{tag}/> closes itself outside SVG"

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] == "data":
            self.data.append((float(self.tags[-1][1]["value"]), data))

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.text).split())

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


def report(made: Run, out: Path, overrides=None, name="demo") -> tuple[str, dict]:
    statistics = write_page(made.context(out, load_profile(name, overrides)))
    return (out / "report.html").read_text(encoding="utf-8"), statistics
