"""Cleans the text of listings: HTML tags and entities, script debris, control characters, white space.

Which fields are cleaned is said in sql/raw_items.sql.
"""

import html
import re

_BLOCKS = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
# Amazon's 2018 pages were sometimes saved as a title: their timing scripts always call getTime (the data set's authors drop these).
_SCRIPT = re.compile(r"getTime\s*\(|\bue_t0\b|\bP\.when\(")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_SUSPICIOUS = re.compile(r"[<&\x00-\x1f\x7f-\x9f\ufeff\ufffe\uffff]|getTime|ue_t0|P\.when")


def clean_text(text: str | None) -> str | None:
    """Clean one text; None when nothing readable is left.

    Cleaning what is clean changes nothing.
    """
    if text is None:
        return None
    if _SUSPICIOUS.search(text):
        # Until nothing changes: entities hide tags ("&lt;b&gt;") and other entities ("&amp;amp;"). Each pass shortens the text.
        previous = None
        while text != previous:
            previous = text
            text = _UNPRINTABLE.sub(" ", html.unescape(_TAG.sub(" ", _BLOCKS.sub(" ", text))))
        if _SCRIPT.search(text):
            return None
    return " ".join(text.split()) or None


def clean_list(texts: list[str | None] | None) -> list[str] | None:
    """Clean each text of a list, keeping the first of equal ones and none that are empty; None when none is left."""
    cleaned = dict.fromkeys(text for text in map(clean_text, texts or ()) if text)
    return list(cleaned) or None
