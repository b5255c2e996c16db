import pytest

from bbqrec_core.download.wanted import image_folder, wanted_files
from bbqrec_core.errors import SourceError
from bbqrec_core.home import home_folder
from bbqrec_core.ingest.config import SourceConfig
from bbqrec_core.ingest.sources import raw_folder
from bbqrec_core.profile import available_profiles, load_profile

AMAZON = {"kind": "amazon", "reviews": "a/r.json.gz", "metadata": "a/m.json.gz"}


def wanted(**fields):
    return {file.path: file.url for file in wanted_files(SourceConfig(**fields))}


def test_reviews_and_metadata_by_their_names():
    urls = {"reviews": "https://x/r", "metadata": "https://x/m", "overview": "https://x/"}
    assert wanted(**AMAZON, urls=urls) == {"a/r.json.gz": "https://x/r", "a/m.json.gz": "https://x/m"}


def test_lists_patterns_and_further_paths():
    fields = {
        **AMAZON,
        "reviews": ["r1.gz", "more_*.gz"],
        "urls": {"reviews": "https://x/no", "r1.gz": "https://x/1", "more_2.gz": "https://x/2"},
    }
    assert wanted(**fields) == {"r1.gz": "https://x/1", "a/m.json.gz": None, "more_2.gz": "https://x/2"}


def test_a_pattern_without_an_address_or_a_file(tmp_path):
    fields = {**AMAZON, "reviews": "part_*.gz", "raw": str(tmp_path), "urls": {"reviews": "https://x/no"}}
    with pytest.raises(SourceError, match=r"pattern part_\*.gz"):
        wanted(**fields)
    (tmp_path / "part_1.gz").touch()
    assert wanted(**fields) == {"a/m.json.gz": None}


def test_a_mirror_is_asked_instead():
    urls = {"reviews": "https://x/r", "b/extra data.json": "https://x/e"}
    assert wanted(**AMAZON, urls=urls, download={"base_url": "http://mirror/raw/"}) == {
        "a/r.json.gz": "http://mirror/raw/a/r.json.gz",
        "a/m.json.gz": "http://mirror/raw/a/m.json.gz",
        "b/extra data.json": "http://mirror/raw/b/extra%20data.json",
    }


def test_tables_and_sequences():
    tables = {"kind": "tables", "tables": {"interactions": ["x.parquet"], "items": "y.csv"}, "urls": {"x.parquet": "https://x/x"}}
    assert wanted(**tables) == {"x.parquet": "https://x/x", "y.csv": None}
    sequences = {"kind": "sequences", "sequences": {"sequences": "s/a.inter.json", "item2id": "s/a.item2id"}}
    assert wanted(**sequences) == {"s/a.inter.json": None, "s/a.item2id": None}


def test_keys_of_addresses_are_fields_paths_or_mistakes():
    tables = {"kind": "tables", "tables": {"interactions": "x.parquet", "items": "y.csv"}}
    assert wanted(**tables, urls={"tables.interactions": "https://x/1", "y.csv": "https://x/2"}) == {
        "x.parquet": "https://x/1",
        "y.csv": "https://x/2",
    }
    for key, near in (("tables.item", "tables.items"), ("review", "overview"), ("z.csv", "y.csv")):
        with pytest.raises(SourceError, match=f"'{key}', which is no file.*Did you mean '{near}'"):
            wanted(**tables, urls={key: "https://x/x"})
    with pytest.raises(SourceError, match="Did you mean 'reviews'"):
        wanted(**AMAZON, urls={"review": "https://x/r"})


def test_a_pattern_that_is_none_is_told(tmp_path):
    with pytest.raises(SourceError, match="is no pattern"):
        wanted(**{**AMAZON, "reviews": "**x"}, raw=str(tmp_path))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.gz", "a/../../x.gz", "C:/x.gz", "a\\b.gz"])
def test_no_path_leaves_the_raw_folder(path):
    with pytest.raises(SourceError, match="leaves the raw folder"):
        wanted(**{**AMAZON, "reviews": path})
    with pytest.raises(SourceError, match="leaves the raw folder"):
        wanted(**AMAZON, urls={path: "https://x/x"})
    with pytest.raises(SourceError, match="leaves the raw folder"):
        image_folder(SourceConfig(**AMAZON, images=path))


def test_nothing_to_fetch():
    with pytest.raises(SourceError, match="nothing to fetch"):
        wanted(kind="synthetic")
    with pytest.raises(SourceError, match=r"names no source\.metadata"):
        wanted(kind="amazon")


def test_where_they_go(monkeypatch, tmp_path):
    monkeypatch.delenv("BBQREC_RAW", raising=False)
    assert raw_folder(SourceConfig(**AMAZON)) == home_folder() / "raw"
    monkeypatch.setenv("BBQREC_RAW", str(tmp_path))
    assert raw_folder(SourceConfig(**AMAZON)) == tmp_path
    assert raw_folder(SourceConfig(**AMAZON, raw="/other")).as_posix() == "/other"


def test_shipped_profiles_say_where_amazons_files_are():
    sources = [load_profile(name).source for name in available_profiles()]
    real = [
        source for source in sources if source.kind == "amazon"
    ]  # published splits were cut from several files, and are nowhere as such
    assert real
    for source in real:
        assert all(file.url and file.url.startswith("http") for file in wanted_files(source))


def test_names_and_codes_of_a_split_are_of_use_only_whole():
    split = {"sequences": "s.json.gz", "item2id": "i.gz", "items": "m.json.gz", "text_codes": "t.json", "image_codes": "p.json"}
    split["codes_item2id"] = "c.gz"
    for download in ({}, {"base_url": "https://mirror"}):
        files = wanted_files(SourceConfig(kind="sequences", sequences=split, download=download))
        assert {file.path for file in files if file.only_whole} == {"i.gz", "t.json", "p.json", "c.gz"} and len(files) == 6
