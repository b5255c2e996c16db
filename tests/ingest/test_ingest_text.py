"""Cleaning of texts."""

import html
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbqrec_core.ingest.text import CLEANED, RULES, clean, clean_texts

PIECES = st.sampled_from(
    [
        *["&amp;", "&lt;", "&gt;", "&", "&#3;", "#60;", "&B;", "amp;", "mp;", "&#97;", ";", "<", ">", "b", "/", "script", "<b>", "</b>"],
        *["<script", "<style", "</script", "<b ", "<hr", "size", "noshade", "=", '"', "\u017fcript", "\u212a", "SCRIPT", "\u3000"],
        *[
            "!--",
            "-->",
            " ",
            "\n",
            "\x00",
            "\u00a0",
            "\u200e",
            "\x1c",
            "x",
            "é",
            " class=",
            "{",
            "}",
            "function",
            "(",
            ")",
            ".a",
            "color:red",
        ],
        *["getTime", "R&B", "Salt & Pepper", "😀"],
    ]
)
TEXTS = st.text() | st.lists(PIECES, max_size=30).map("".join)


@pytest.mark.parametrize(
    ("dirty", "cleaned", "rules"),
    [
        ("Plain title", "Plain title", []),
        ("Salt & Pepper, R&B, AT&T", "Salt & Pepper, R&B, AT&T", []),
        ("I <3 you, 5 < 6 > 4", "I <3 you, 5 < 6 > 4", []),
        ("A {deluxe} set: a function (of time)", "A {deluxe} set: a function (of time)", []),
        ("नमस्\u200dते", "नमस्\u200dते", []),
        ("  two \n\t spaces  ", "two spaces", ["whitespace"]),
        ("no\u00a0break", "no break", ["whitespace"]),
        ("Salt &amp; Pepper", "Salt & Pepper", ["entities"]),
        ("Salt &amp;amp; Pepper", "Salt & Pepper", ["entities"]),
        ("Memphis R&B; shuffle", "Memphis R&B shuffle", ["entities"]),
        ("&nbsp;", None, ["entities"]),
        ('<span class="a-size-medium">Red <b>Shoe</b></span>', "Red Shoe", ["tags"]),
        ("&lt;b&gt;Red&lt;/b&gt; Shoe", "Red Shoe", ["tags", "entities"]),
        ('Red Shoe <div class="a-section', "Red Shoe", ["tags"]),
        ("<br>", None, ["tags"]),
        ("Ring <size M to XL> silver", "Ring <size M to XL> silver", []),
        ("Book by <Anonymous>", "Book by <Anonymous>", []),
        ("if (a<b && c>d) shirt", "if (a<b && c>d) shirt", []),
        ("small <b and c> large", "small <b and c> large", []),
        ("a <style of its own> dress", "a <style of its own> dress", []),
        ("<\u017fcript>x</\u017fcript> <\u212abd>", "<\u017fcript>x</\u017fcript> <\u212abd>", []),  # no letters of ASCII
        ("<H1>Red</H1 ><Br/><br />Shoe<HR NoShade size=2>", "Red Shoe", ["tags"]),
        ('<font color="red"><center>Red</center></font><input disabled> Shoe', "Red Shoe", ["tags"]),
        ('<option selected value="1">Red</option><img/src=x>', "Red", ["tags"]),
        ('<SCRIPT async src="x">var t</Script>Red', "Red", ["blocks"]),
        ("</span></span></span>", None, ["tags"]),
        ("<script>var t = (new Date()).getTime();</script>Red Shoe", "Red Shoe", ["blocks"]),
        ("<style>.a{color:red}</style>Red<!-- note --> Shoe", "Red Shoe", ["blocks"]),
        ("Red Shoe<script>var t = 1", "Red Shoe", ["blocks"]),
        ("<b>Red</b> <!-- note -->&amp;  Blue\x00", "Red & Blue", ["tags", "blocks", "entities", "control", "whitespace"]),
        ("NUL\x00 and \x1f bell", "NUL and bell", ["control"]),
        ("\u200eBrand\ufeff", "Brand", ["control"]),
        ("var aPageStart = (new Date()).getTime(); var ue_t0=ue_t0||+new Date();", None, ["script"]),
        ("(function(a,b){a.x=b})(window)", None, ["script"]),
        (".a-box-inner{background-color:#fff}#aloha .selected{color:gray}", None, ["script"]),
        ("", None, []),
    ],
)
def test_each_rule(dirty, cleaned, rules):
    text, acted = clean(dirty)
    assert text == cleaned and set(acted) == set(rules) and acted == [rule for rule in RULES if rule in rules]


@given(TEXTS)
def test_nothing_is_left_to_clean(text):
    cleaned, _ = clean(text)
    if cleaned is not None:
        assert clean(cleaned) == (cleaned, [])
        assert cleaned == " ".join(cleaned.split()) and not re.search(r"[\x00-\x1f\x7f-\x9f\u200e\ufeff]", cleaned)
        assert not re.search(r"<[bB][\s/]*>|</?(?i:script|hr)[\s/]*>", cleaned, re.ASCII) and html.unescape(cleaned) == cleaned


@given(TEXTS)
def test_a_rule_acted_exactly_where_something_changed(text):
    cleaned, rules = clean(text)
    assert bool(rules) == ((cleaned or "") != text)


@settings(deadline=None)  # Arrow takes its time when it is first called.
@given(st.lists(st.none() | TEXTS | st.sampled_from(["Clean", "Two words"]), max_size=20))
def test_many_texts_are_cleaned_as_one_is(texts):
    """So the screen lets no text pass that a rule would act on."""
    expected = [(None, []) if text is None else clean(text) for text in texts]
    for given_as in (
        pa.array(texts, pa.string()),
        pa.chunked_array([pa.array(texts, pa.string())]),
        pa.array([None, *texts], pa.string())[1:],
    ):
        cleaned = clean_texts(given_as)
        cleaned.validate(full=True)
        assert cleaned.type == CLEANED
        assert [(row["text"], row["rules"]) for row in cleaned.to_pylist()] == expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "attack",
    [
        "&" + "amp;" * 300_000,
        "&" * 300_000 + "#3;" * 300_000,
        "<a " * 300_000,
        "<b x=" * 300_000,
        "<b " + "hidden \n" * 300_000,
        "<b " + "/" * 300_000 + "a" * 300_000,
        "<b a" + " " * 300_000,
        "<script>" * 150_000,
        "<!--" * 300_000,
        "</script " * 100_000,
        "{" * 500_000,
        "function (" * 100_000,
    ],
)
def test_no_text_takes_long(attack):
    cleaned, _ = clean(attack)
    assert cleaned is None or clean(cleaned) == (cleaned, [])


def test_what_goes_on_hiding_things_is_given_up():
    assert clean("&" + "amp;" * 7) == ("&", ["entities"])
    assert clean("&" + "amp;" * 50) == (None, ["entities", "script"])
