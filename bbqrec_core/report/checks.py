"""Scans a page for anything that a browser would load from elsewhere.

This is a check on the finished HTML, independent of how it was made.
"""

import re
from html.parser import HTMLParser

LOADING_ATTRIBUTES = {
    *("action", "archive", "background", "cite", "classid", "codebase", "data", "formaction", "href", "icon", "imagesrcset", "longdesc"),
    *("manifest", "ping", "poster", "profile", "src", "srcset", "usemap", "xlink:href"),
}
LOADING_TAGS = {"script", "link", "iframe", "frame", "object", "embed", "applet", "base", "portal"}
_CSS_LOADS = re.compile(
    r"""url\(\s*(?P<quote>["']?)(?P<target>[^"')]*)(?P=quote)\s*\)|@import\s+(?P<imported>[^;]+)|image-set\(""", re.IGNORECASE
)


def external_references(html: str) -> list[str]:
    """Everything in a page that is, or could become, a request: references beyond the page itself, `url()` in styles, tags that load.

    References to the page's own anchors (`#...`) and data URIs are no requests.
    """
    scanner = _Scanner()
    scanner.feed(html)
    scanner.close()
    return scanner.found


class _Scanner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag in LOADING_TAGS:
            self.found.append(f"<{tag}>")
        values = {name: value or "" for name, value in attrs}
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.found.append("<meta http-equiv=refresh>")
        for name, value in values.items():
            if name in LOADING_ATTRIBUTES and not _inside(value):
                self.found.append(f"{name}={value}")
            if name == "style":
                self._scan_css(value)
            elif "url(" in value.lower() and name != "style" and not name.startswith(("aria-", "title", "alt")):
                self._scan_css(value)  # SVG's presentation attributes, such as fill

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._scan_css(data)

    def _scan_css(self, css: str) -> None:
        for match in _CSS_LOADS.finditer(css):
            target = match["target"]
            if target is None or not _inside(target):
                self.found.append(match[0])


def _inside(reference: str) -> bool:
    """Whether a reference stays in the page."""
    reference = reference.strip()
    return reference.startswith("#") or reference.lower().startswith("data:")
