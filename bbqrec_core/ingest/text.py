"""Cleans the text of listings of what web pages left in it, and says which rules acted.

Which fields are cleaned, and the rules of brands, category paths and prices, are in sql/cleaned_items.sql and sql/macros.sql.
"""

import html
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

TAGS, BLOCKS, ENTITIES, CONTROL, WHITESPACE, SCRIPT = "tags", "blocks", "entities", "control", "whitespace", "script"
RULES = (TAGS, BLOCKS, ENTITIES, CONTROL, WHITESPACE, SCRIPT)
"""Tags: tags of HTML elements go, their content stays. Blocks: script and style elements and comments go with their content. Entities are
decoded, and those that are none lose their semicolon. Control characters go. White space becomes single spaces. Script: the text is code of
a page, nothing of it is kept."""
CLEANED = pa.struct([("text", pa.string()), ("rules", pa.list_(pa.string()))])
CLEANED_SQL = "STRUCT(text VARCHAR, rules VARCHAR[])"

# The elements of HTML, today's and those that old pages have. Nothing else in angle brackets is a tag: "Ring <size M to XL>".
_ELEMENTS = """
    a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink blockquote body br button canvas
    caption center cite code col colgroup command data datalist dd del details dfn dialog dir div dl dt em embed fencedframe fieldset
    figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins isindex
    kbd keygen label layer legend li link listing main map mark marquee math menu menuitem meta meter multicol nav nobr noembed noframes
    nolayer noscript object ol optgroup option output p param picture plaintext pre progress q rb rp rt rtc ruby s samp script search
    section select selectedcontent shadow slot small source spacer span strike strong style sub summary sup svg table tbody td template
    textarea tfoot th thead time title tr track tt u ul var video wbr xmp
"""
# Attributes that stand without a value. Other words after an element's name make no tag: "a <b and c> d".
_FLAGS = """
    allowfullscreen async autofocus autoplay checked compact controls declare default defer disabled formnovalidate hidden inert ismap
    itemscope loop multiple muted nohref nomodule noresize noshade novalidate nowrap open playsinline readonly required reversed
    seamless selected
"""


def _any_of(words: str) -> str:
    """Matches any of the words, whatever their case, but of ASCII alone: the screen knows no other letters (the Kelvin sign is a k)."""
    by_letter: dict[str, list[str]] = {}  # told by the first letter, they are found three times as fast
    for word in sorted(words.split(), reverse=True):
        by_letter.setdefault(word[0], []).append(word[1:])
    branches = [f"{letter}(?:{'|'.join(rests)})" for letter, rests in by_letter.items()]
    return f"(?ai:{'|'.join(branches)})"


_FLAGGED = rf"(?:[\s/]+{_any_of(_FLAGS)}(?=[\s/<>]|\Z))*"
_ATTRIBUTES = r"[\s/]+[\w:@.-]+\s*=[^<>]*"
_BLOCK = re.compile(
    rf"<((?ai:script|style)){_FLAGGED}(?:{_ATTRIBUTES}|[\s/]*)>.*?(</(?i:\1)\s*>|\Z)|<!--.*?(-->|\Z)",
    re.DOTALL,
)
# A tag with attributes may be cut where the text was cut.
_TAG = re.compile(rf"<(?:{_any_of(_ELEMENTS)}{_FLAGGED}(?:{_ATTRIBUTES}(?:>|\Z)|[\s/]*>)|/{_any_of(_ELEMENTS)}(?:[\s/][^<>]*)?>)")
# The parser behind Amazon 2014's descriptions took "R&B" for an entity whose semicolon was missing, and wrote "R&B;".
_NO_ENTITY = re.compile(r"&([a-zA-Z][a-zA-Z0-9]{0,30});")
_IRREGULAR_SPACE = "^ | $|  |[\\t-\\r\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_IRREGULAR = re.compile(_IRREGULAR_SPACE)
# Tabs and line feeds are white space. Marks of direction, the zero-width space and the byte order mark are not seen either; joiners are,
# in Indic scripts and in emoji.
_CONTROLS = "\\x00-\\x08\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff"
_CONTROL = re.compile(f"[{_CONTROLS}]")
# Amazon's 2018 pages were sometimes saved as a title, and style sheets as a price: its timing scripts always call getTime (the data set's
# authors drop these), its style sheets begin with a class or an ID.
_SCRIPT = re.compile(
    r"getTime\s*\(|\bue_t0\b|\bP\.when\(|\bfunction\b[^(){}]{0,80}\([^(){}]{0,200}\)\s*\{|\A\s*[.#@][a-zA-Z][^{}]{0,500}\{\s*[a-z-]+\s*:"
)
_SCRIPT_HINTS = ("getTime", "ue_t0", "P.when", "{")  # No script without one; they are found twenty times as fast.
# RE2, not Python: what no rule can act on does not match. Most texts do not, and never become Python objects.
_SUSPICIOUS = rf"^$|{_IRREGULAR_SPACE}|[{_CONTROLS}]|<[a-zA-Z/!]|&[a-zA-Z#]|\{{|getTime|ue_t0|P\.when"
# Entities hide tags ("&lt;b&gt;") and other entities ("&amp;amp;"), three deep at most in what was seen. What goes on hiding things is no
# text but an attack on whoever cleans until nothing changes.
_MAX_DEPTH = 10


def clean(text: str) -> tuple[str | None, list[str]]:
    """Clean one text.

    Cleaning what is clean changes nothing, and no rule acts.

    Returns:
        The clean text, None when nothing readable is left, and the rules that acted.
    """
    # Each rule is kept from looking at what it cannot act on by something quicker.
    acted = {WHITESPACE} if " ".join(text.split()) != text and _IRREGULAR.search(text) else set()
    for _ in range(_MAX_DEPTH):
        before = text
        for rule, pattern in ((BLOCKS, _BLOCK), (TAGS, _TAG)) if "<" in text else ():
            text, times = pattern.subn(" ", text)
            acted |= {rule} if times else set()
        if "&" in text:
            decoded = _NO_ENTITY.sub(r"&\1", html.unescape(text))
            acted |= {ENTITIES} if decoded != text else set()
            text = decoded
        if not text.isprintable():
            text, times = _CONTROL.subn(" ", text)
            acted |= {CONTROL} if times else set()
        if text == before:
            break
    else:
        return None, _ordered(acted | {SCRIPT})
    text = " ".join(text.split())
    if any(hint in text for hint in _SCRIPT_HINTS) and _SCRIPT.search(text):
        return None, _ordered(acted | {SCRIPT})
    return text or None, _ordered(acted)


def clean_texts(texts: pa.Array | pa.ChunkedArray) -> pa.StructArray:
    """Clean many texts, fast where most of them are clean already.

    Args:
        texts: Strings; nulls stay null.

    Returns:
        For each text a `CLEANED`.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    suspicious = pc.fill_null(pc.match_substring_regex(texts, _SUSPICIOUS), False)
    where = pc.indices_nonzero(suspicious)
    if not len(where):
        return _cleaned(texts, pa.array([], pa.string()), pa.repeat(pa.scalar(0, pa.int32()), len(texts) + 1))
    cleaned = [clean(text) for text in texts.take(where).to_pylist()]
    lengths = pc.replace_with_mask(
        pa.repeat(pa.scalar(0, pa.int32()), len(texts)), suspicious, _int32s([len(acted) for _, acted in cleaned])
    )
    return _cleaned(
        pc.replace_with_mask(texts, suspicious, pa.array([text for text, _ in cleaned], pa.string())),
        pa.array([rule for _, acted in cleaned for rule in acted], pa.string()),
        pa.concat_arrays([_int32s([0]), pc.cumulative_sum(lengths)]),
    )


def _cleaned(texts: pa.Array, rules: pa.Array, offsets: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays([texts, pa.ListArray.from_arrays(offsets, rules)], fields=list(CLEANED))


def _int32s(numbers: list[Any]) -> pa.Array:
    return pa.array(numbers, pa.int32())


def _ordered(acted: set[str]) -> list[str]:
    return [rule for rule in RULES if rule in acted]
