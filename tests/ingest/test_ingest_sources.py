"""Finding raw files, and what is said when they are missing."""

import subprocess
import sys

import pytest

from bbqrec_core.errors import SourceError
from bbqrec_core.ingest.config import SourceConfig
from bbqrec_core.ingest.sources import resolve_source

SOURCE = SourceConfig(
    reviews="a/reviews.json.gz",
    metadata="a/meta.json.gz",
    images="a/images",
    urls={"reviews": "https://example.org/reviews.json.gz", "overview": "https://example.org"},
)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    (tmp_path / "a" / "images").mkdir(parents=True)
    for name in ("reviews.json.gz", "meta.json.gz"):
        (tmp_path / "a" / name).write_bytes(b"x")
    monkeypatch.setenv("BBQREC_RAW", str(tmp_path))
    return tmp_path


def test_files_are_found_and_named_relative_to_the_root(raw):
    files = resolve_source(SOURCE, None)
    assert (files.root, files.image_folder) == (raw, raw / "a" / "images")
    assert [files.name_of(path) for path in (*files.of("reviews"), *files.of("metadata"))] == ["a/reviews.json.gz", "a/meta.json.gz"]


def test_the_profile_goes_before_the_environment(raw, monkeypatch):
    monkeypatch.setenv("BBQREC_RAW", "/nowhere")
    assert resolve_source(SOURCE.model_copy(update={"raw": str(raw)}), None).root == raw


def test_without_a_folder_all_is_said(monkeypatch):
    monkeypatch.delenv("BBQREC_RAW", raising=False)
    with pytest.raises(SourceError) as caught:
        resolve_source(SOURCE, None)
    for text in ("BBQREC_RAW", "source.raw", "a/reviews.json.gz", "a/meta.json.gz", "a/images", "https://example.org/reviews.json.gz"):
        assert text in str(caught.value)


@pytest.mark.parametrize("missing", ["reviews.json.gz", "meta.json.gz"])
def test_the_missing_file_is_named_with_its_full_path(raw, missing):
    (raw / "a" / missing).unlink()
    with pytest.raises(SourceError) as caught:
        resolve_source(SOURCE, None)
    present = "meta.json.gz" if missing.startswith("reviews") else "reviews.json.gz"
    assert str(raw / "a" / missing) in str(caught.value) and str(raw / "a" / present) not in str(caught.value)


def test_a_missing_image_folder_is_an_error_only_if_it_is_named(raw):
    (raw / "a" / "images").rmdir()
    with pytest.raises(SourceError, match=r"a/images(.|\n)*source\.images: null"):
        resolve_source(SOURCE, None)
    assert resolve_source(SOURCE.model_copy(update={"images": None}), None).image_folder is None


@pytest.mark.parametrize("outside", ["/etc/passwd", "../reviews.json.gz"])
def test_files_outside_the_folder_are_refused(raw, outside):
    with pytest.raises(SourceError, match="leaves the raw folder"):
        resolve_source(SOURCE.model_copy(update={"reviews": outside}), None)


def test_a_profile_that_names_no_file_is_told_so(raw):
    with pytest.raises(SourceError, match=r"names no source\.metadata"):
        resolve_source(SOURCE.model_copy(update={"metadata": ""}), None)


def test_the_shop_is_found_in_its_artifact(tmp_path):
    source = SourceConfig(kind="synthetic")
    with pytest.raises(SourceError, match="stage `shop`"):
        resolve_source(source, None)
    with pytest.raises(SourceError, match=r"lacks .*reviews\.json\.gz"):
        resolve_source(source, tmp_path)
    (tmp_path / "images").mkdir()
    for name in ("reviews.json.gz", "meta.json.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert resolve_source(source, tmp_path).root == tmp_path


@pytest.mark.parametrize(("reviews", "said"), [("**x", "is no pattern"), ("x" * 300, "cannot be looked for")])
def test_what_the_system_cannot_look_for_is_told(raw, reviews, said):
    with pytest.raises(SourceError, match=said):
        resolve_source(SOURCE.model_copy(update={"reviews": reviews}), None)


@pytest.mark.parametrize(
    ("urls", "offered"),
    [
        ({}, False),
        ({"overview": "https://example.org"}, False),
        ({"b/other.json": "https://example.org/x"}, False),
        ({"metadata": "https://example.org/m"}, True),
        ({"a/reviews.json.gz": "https://example.org/r"}, True),
    ],
)
def test_fetch_is_offered_where_a_file_has_an_address(raw, urls, offered):
    (raw / "a" / "reviews.json.gz").unlink()
    with pytest.raises(SourceError) as caught:
        resolve_source(SOURCE.model_copy(update={"urls": urls}), None)
    assert ("bbqrec fetch" in caught.value.way_out) is offered
    assert all(url in caught.value.way_out for url in urls.values())


def test_asking_for_files_loads_nothing_heavy():
    code = "import sys, bbqrec_core.ingest.sources; print(sorted({'duckdb', 'pyarrow', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
