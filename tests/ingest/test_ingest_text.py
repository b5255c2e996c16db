"""Cleaning of listings."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbqrec_core.ingest.text import clean_list, clean_text

PIECES = st.sampled_from(
    ["&amp;", "&lt;", "&gt;", "&", "<", ">", "b", "/", "script", "<b>", "</b>", "!--", "-->", " ", "\n", "\x00", "#60;", "x", "é"]
)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("Plain title", "Plain title"),
        ("  two \n\t spaces  ", "two spaces"),
        ("Salt &amp; Pepper", "Salt & Pepper"),
        ("Salt &amp;amp; Pepper", "Salt & Pepper"),
        ('<span class="a-size-medium">Red <b>Shoe</b></span>', "Red Shoe"),
        ("&lt;b&gt;Red&lt;/b&gt; Shoe", "Red Shoe"),
        ("<script>var t = (new Date()).getTime();</script>Red Shoe", "Red Shoe"),
        ("<style>.a{color:red}</style>Red<!-- note --> Shoe", "Red Shoe"),
        ("Red Shoe<script>var t = 1", "Red Shoe"),
        ("var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();", None),
        ("I <3 you, 5 < 6 > 4", "I <3 you, 5 < 6 > 4"),
        ("AT&T", "AT&T"),
        ("NUL\x00 and \x1f bell", "NUL and bell"),
        ("<br>", None),
        ("&nbsp;", None),
        ("", None),
        (None, None),
    ],
)
def test_known_dirt(dirty, clean):
    assert clean_text(dirty) == clean


@given(st.text() | st.lists(PIECES, max_size=30).map("".join))
def test_nothing_is_left_to_clean(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    if cleaned is not None:
        assert cleaned == cleaned.strip() and "\n" not in cleaned
        assert not re.search(r"<[a-z][^<>]*>", cleaned) and html.unescape(cleaned) == cleaned


def test_lists_lose_repetitions_and_empty_texts():
    assert clean_list(["Toys", "Toys", None, "", "<br>", "Cars &amp; Trucks", "Toys"]) == ["Toys", "Cars & Trucks"]
    assert clean_list([]) is clean_list(None) is clean_list(["<br>"]) is None
