import asyncio
import gzip
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from download.bad_server import content, lying, ranged, redirect, stalling, status, trickling
from download.samples import HTML, QUICK, config, packed

from bbqrec_core.digests import sha256_of_file
from bbqrec_core.download.manifest import MANIFEST, read_manifest
from bbqrec_core.download.raw import fetch_files, fetching
from bbqrec_core.download.wanted import WantedFile
from bbqrec_core.errors import SourceError
from bbqrec_core.home import PROJECT

NAME = "shop/reviews.json.gz"
BODY = packed()


def fetch(server, folder, patience=QUICK, accept_cut=False, name=NAME, url=None, **fields):
    wanted = [WantedFile(name, url or server.url("file"))]
    [outcome] = asyncio.run(fetch_files(wanted, folder, config(**fields), accept_cut, patience=patience))
    return outcome


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def ranges(server):
    return [asked for _, asked in server.ranges]


def test_a_file_is_fetched_once_and_kept_in_the_manifest(server, tmp_path):
    server.answers["file"] = ranged(BODY)
    outcome = fetch(server, tmp_path)
    assert (outcome.status, outcome.bytes) == ("fetched", len(BODY))
    assert (tmp_path / NAME).read_bytes() == BODY and left(tmp_path) == [MANIFEST, NAME]
    entry = read_manifest(tmp_path)[NAME]
    assert (entry.url, entry.bytes, entry.sha256, entry.etag) == (
        server.url("file"),
        len(BODY),
        sha256_of_file(tmp_path / NAME),
        '"one"',
    )
    assert fetch(server, tmp_path).status == "there"
    assert server.asked["file"] == 1


def test_a_file_that_lay_there_is_left_alone(server, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / NAME).write_bytes(b"mine")
    assert fetch(server, tmp_path).status == "foreign"
    assert (tmp_path / NAME).read_bytes() == b"mine" and not server.asked


def test_a_fetched_file_that_was_altered_is_told_and_not_replaced(server, tmp_path):
    server.answers["file"] = ranged(BODY)
    fetch(server, tmp_path)
    (tmp_path / NAME).write_bytes(b"x" + BODY[1:])
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "remove" in outcome.way_out and server.asked["file"] == 1
    (tmp_path / NAME).unlink()
    assert fetch(server, tmp_path).status == "fetched"


def test_what_broke_off_is_gone_on_with(server, tmp_path):
    server.answers["file"] = ranged(BODY, cut=20_000)
    assert fetch(server, tmp_path).status == "fetched"
    assert ranges(server) == [None, "bytes=20000-", "bytes=40000-"]
    assert (tmp_path / NAME).read_bytes() == BODY


def test_a_break_is_survived_by_the_next_call(server, tmp_path):
    server.answers["file"] = [ranged(BODY, cut=20_000), status(500)]
    failed = fetch(server, tmp_path)
    assert failed.status == "failed" and "status 500" in failed.reason and not (tmp_path / NAME).exists()
    server.answers["file"] = ranged(BODY)
    assert fetch(server, tmp_path).status == "fetched"
    assert ranges(server)[-1] == "bytes=20000-"
    assert (tmp_path / NAME).read_bytes() == BODY and left(tmp_path) == [MANIFEST, NAME]


def test_progress_renews_patience(server, tmp_path):
    server.answers["file"] = ranged(BODY, cut=len(BODY) // 9)
    assert fetch(server, tmp_path).status == "fetched"
    assert server.asked["file"] == 10


def test_a_file_that_changed_meanwhile_is_begun_again(server, tmp_path):
    new = packed(seed=2)
    server.answers["file"] = [ranged(BODY, cut=20_000), ranged(new, etag='"two"')]
    assert fetch(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == new and read_manifest(tmp_path)[NAME].etag == '"two"'


def test_a_server_that_knows_no_ranges(server, tmp_path):
    server.answers["file"] = [ranged(BODY, cut=20_000), ranged(BODY, knows_ranges=False)]
    assert fetch(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == BODY


def test_without_a_validator_nothing_is_stitched_together(server, tmp_path):
    server.answers["file"] = [lying(BODY[:20_000], len(BODY)), lying(BODY[:20_000], len(BODY), ETag='W/"weak"'), content(BODY)]
    assert fetch(server, tmp_path).status == "fetched"
    assert ranges(server) == [None, None, None]
    assert (tmp_path / NAME).read_bytes() == BODY


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-{last}/{total}",
        "bytes 20000-{last}/999",
        "bytes 20000-20010/{total}",
        "nonsense",
        "bytes 20000-{last}/*",
        "bytes 20000-{last}/" + "9" * 5000,
    ],
)
def test_a_rest_that_is_no_rest_is_not_used(content_range, server, tmp_path):
    wrong = content_range.format(last=len(BODY) - 1, total=len(BODY))
    server.answers["file"] = [ranged(BODY, cut=20_000), status(206, BODY[20_000:], Content_Range=wrong, ETag='"one"'), ranged(BODY)]
    assert fetch(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == BODY


def test_a_range_that_the_server_refuses(server, tmp_path):
    server.answers["file"] = [ranged(BODY, cut=20_000), status(416), ranged(BODY)]
    assert fetch(server, tmp_path).status == "fetched"
    assert ranges(server) == [None, "bytes=20000-", None]


def test_a_truncated_file_never_gets_its_name(server, tmp_path):
    server.answers["file"] = ranged(BODY, cut=20_000, knows_ranges=False)
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "broke off" in outcome.reason and not (tmp_path / NAME).exists()
    assert server.asked["file"] == 3


@pytest.mark.parametrize("length", [None, 20_000], ids=["no length", "too short a length"])
def test_a_length_that_hides_a_cut_is_found_by_the_compressed_data(length, server, tmp_path):
    server.answers["file"] = lying(BODY[:20_000] if length is None else BODY, length)
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "cut off" in outcome.reason and left(tmp_path) == []
    accepted = fetch(server, tmp_path, accept_cut=True)
    assert accepted.status == "fetched" and "cut off" in accepted.reason


def test_a_cut_file_of_which_no_beginning_will_do_is_never_taken(server, tmp_path):
    server.answers["file"] = lying(BODY[:20_000], None)
    for accept_cut in (False, True):
        wanted = [WantedFile(NAME, server.url("file"), only_whole=True)]
        [outcome] = asyncio.run(fetch_files(wanted, tmp_path, config(), accept_cut, patience=QUICK))
        assert outcome.status == "failed" and "cut off" in outcome.reason and left(tmp_path) == []
        assert "use_cut_files" not in outcome.way_out and "only whole" in outcome.way_out
    assert "ingest.use_cut_files" in fetch(server, tmp_path).way_out


def test_more_is_announced_than_comes(server, tmp_path):
    server.answers["file"] = lying(BODY, len(BODY) + 100)
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "broke off" in outcome.reason and not (tmp_path / NAME).exists()


def test_a_file_without_a_length_that_is_whole(server, tmp_path):
    server.answers["file"] = lying(BODY, None)
    assert fetch(server, tmp_path).status == "fetched"


@pytest.mark.parametrize("length", [len(BODY), None])
def test_a_file_that_is_too_large(length, server, tmp_path):
    server.answers["file"] = lying(BODY, length)
    outcome = fetch(server, tmp_path, max_file_bytes=30_000)
    assert outcome.status == "failed" and "more than 30,000 bytes" in outcome.reason and left(tmp_path) == []
    assert server.asked["file"] == 1


def test_a_silent_server(server, tmp_path):
    server.answers["file"] = [stalling(BODY, 1000, 10.0), content(BODY)]
    start = time.monotonic()
    assert fetch(server, tmp_path, timeout_seconds=0.3).status == "fetched"
    assert time.monotonic() - start < 5


def test_a_server_that_is_busy_for_a_while(server, tmp_path):
    server.answers["file"] = [status(429, Retry_After="1"), content(BODY)]
    start = time.monotonic()
    assert fetch(server, tmp_path).status == "fetched"
    assert 0.9 < time.monotonic() - start < 5


def test_a_server_that_is_busy_for_ever(server, tmp_path):
    server.answers["file"] = status(503)
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "status 503, 3 times" in outcome.reason and server.url("file") in outcome.reason
    assert server.asked["file"] == 3


def test_what_is_not_there_is_asked_for_once(server, tmp_path):
    outcome = fetch(server, tmp_path)
    assert outcome.status == "failed" and "status 404" in outcome.reason and server.asked["file"] == 1


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("a.json.gz", HTML, "web page"),
        ("a.json", HTML, "web page"),
        ("a.jsonl.zst", BODY, "no Zstandard file"),
        ("a.json.gz", b'{"a": 1}\n' * 99, "no gzip file"),
        ("a.json", b"", "empty"),
    ],
)
def test_what_is_not_what_its_name_says(name, body, why, server, tmp_path):
    server.answers["file"] = content(body)
    outcome = fetch(server, tmp_path, name=name)
    assert outcome.status == "failed" and why in outcome.reason and left(tmp_path) == []
    assert server.asked["file"] == 1


def test_plain_files_and_files_that_a_server_calls_encoded(server, tmp_path):
    body = b'{"a": 1}\n' * 99
    server.answers["file"] = content(body)
    assert fetch(server, tmp_path, name="a.json").status == "fetched"
    server.answers["packed"] = content(gzip.compress(body), Content_Encoding="gzip")  # as many servers say of any .gz
    assert fetch(server, tmp_path, name="a.json.gz", url=server.url("packed")).status == "fetched"
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == body


def test_a_file_behind_a_redirect_is_gone_on_with(server, tmp_path):
    server.answers |= {"file": redirect("/mirror"), "mirror": ranged(BODY, cut=30_000)}
    assert fetch(server, tmp_path).status == "fetched"
    assert (tmp_path / NAME).read_bytes() == BODY and server.asked["mirror"] == 2


def test_one_that_fails_does_not_keep_the_others(server, tmp_path):
    server.answers["file"] = content(BODY)
    wanted = [
        WantedFile("a.gz", server.url("none")),
        WantedFile("b.gz", None, "https://example.com/about"),
        WantedFile("c.gz", server.url("file")),
    ]
    outcomes = asyncio.run(fetch_files(wanted, tmp_path, config(), patience=QUICK))
    assert [outcome.status for outcome in outcomes] == ["failed", "failed", "fetched"]
    assert "source.urls" in outcomes[1].way_out and "https://example.com/about" in outcomes[1].way_out


def test_two_calls_at_once_in_one_folder(tmp_path):
    with fetching(tmp_path), pytest.raises(SourceError, match="Another"), fetching(tmp_path):
        pass
    with fetching(tmp_path):
        pass


def test_a_manifest_that_cannot_be_read(server, tmp_path):
    (tmp_path / MANIFEST).write_text("{")
    (tmp_path / "a.gz").write_bytes(BODY)
    with pytest.raises(SourceError, match="cannot be read"):
        fetch(server, tmp_path, name="a.gz")


CHILD = """
import asyncio, sys
from pathlib import Path
from bbqrec_core.download.raw import fetch_files, fetching
from bbqrec_core.download.wanted import WantedFile
from bbqrec_core.ingest.config import DownloadConfig
folder = Path(sys.argv[2])
with fetching(folder):
    asyncio.run(fetch_files([WantedFile("reviews.json.gz", sys.argv[1])], folder, DownloadConfig(allow_private_addresses=True)))
"""


def test_killed_in_the_middle_and_gone_on_with(server, tmp_path):
    body = packed(3_000_000)
    server.answers["file"] = trickling(body, 200_000, 0.2)
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILD), server.url("file"), str(tmp_path)], cwd=PROJECT, env=os.environ)
    part = tmp_path / "reviews.json.gz.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size > 300_000):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.kill()
    child.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(body) and not (tmp_path / "reviews.json.gz").exists()
    with fetching(tmp_path):  # the dead one's lock is free
        assert fetch(server, tmp_path, name="reviews.json.gz").status == "fetched"
    assert ranges(server) == [None, f"bytes={kept}-"]
    assert (tmp_path / "reviews.json.gz").read_bytes() == body


def test_killed_between_whole_and_named(server, tmp_path):
    """The last moments of a fetch: the part is whole, the manifest may have its entry, the name is not there yet."""
    server.answers["file"] = ranged(BODY)
    part = tmp_path / "a.gz.part"
    part.write_bytes(BODY)
    note = {"url": server.url("file"), "etag": '"one"', "last_modified": None, "length": len(BODY)}
    (tmp_path / "a.gz.part.json").write_text(json.dumps(note))
    assert fetch(server, tmp_path, name="a.gz").status == "fetched"
    assert not server.asked and left(tmp_path) == ["a.gz", MANIFEST]
    assert fetch(server, tmp_path, name="a.gz").status == "there"


def test_a_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    (tmp_path / "a.gz.part").write_bytes(b"x" * 1000)
    note = {"url": server.url("other"), "etag": '"one"', "last_modified": None, "length": len(BODY)}
    (tmp_path / "a.gz.part.json").write_text(json.dumps(note))
    server.answers["file"] = ranged(BODY)
    assert fetch(server, tmp_path, name="a.gz").status == "fetched"
    assert ranges(server) == [None] and (tmp_path / "a.gz").read_bytes() == BODY
