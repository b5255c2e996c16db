"""`bbqrec fetch` as a command, from a loopback server, with pictures: a small shop after the k-core."""

import gzip
import json
import os
import signal
import subprocess

import pytest
from download.bad_server import content, status, trickling
from download.samples import HTML, packed, picture
from ingest.ingest_raw import listing, review
from installation import BIN, wait_for

from bbqrec_core.home import PROJECT
from bbqrec_core.ingest.pictures import picture_path

ITEMS = ["I1", "I2", "I3", "I4"]
PROFILE = """
source:
  kind: amazon
  reviews: shop/reviews.json.gz
  metadata: shop/meta.json.gz
  images: shop/images
  urls:
    reviews: {url}reviews
    metadata: {url}metadata
    overview: https://example.com/
  download: {{allow_private_addresses: true, allow_private_pictures: true, attempts: 2, timeout_seconds: 5}}
ingest: {{k_user: 3, k_item: 3}}
gates: {{min_users: 1, min_items: 1, min_interactions: 1, min_users_evaluated: 1, max_reject_share: 0.5, min_text_share: 0.0}}
compute: {{threads: 1}}
"""


def lines(rows):
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)


@pytest.fixture
def shop(server, tmp_path):
    """A profile whose files the server has: four items remain after the k-core, and one does not."""
    reviews = [review(f"U{user}", item, 1_500_000_000 + 100_000 * user + place) for user in range(6) for place, item in enumerate(ITEMS)]
    reviews.append(review("U0", "RARE", 1_600_000_000))
    addresses = {
        "I1": [server.url("1.jpg")],
        "I2": [server.url("gone.jpg"), server.url("2.jpg")],
        "I3": [server.url("page.jpg")],
        "I4": [server.url("gone.jpg")],
        "RARE": [server.url("rare.jpg")],
    }
    metadata = [listing(item, imageURLHighRes=urls, imageURL=[]) for item, urls in addresses.items()]
    server.answers |= {
        "reviews": content(lines(reviews)),
        "metadata": content(lines(metadata)),
        "1.jpg": content(picture()),
        "2.jpg": content(picture("PNG")),
        "page.jpg": content(HTML, Content_Type="image/jpeg"),
        "rare.jpg": content(picture()),
    }
    profile = tmp_path / "small.yaml"
    profile.write_text(PROFILE.format(url=server.url("")))
    return profile


@pytest.fixture
def bbqrec(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BBQREC_", "PREFECT_"))}

    def call(*arguments, **more):
        return subprocess.run(
            [BIN / "bbqrec", *map(str, arguments)],
            cwd=PROJECT,
            env={**environment, "BBQREC_HOME": str(tmp_path / "home"), **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def test_a_profile_is_fetched_with_its_pictures_and_only_once(shop, bbqrec, server, tmp_path):
    first = bbqrec("fetch", shop)
    assert first.returncode == 0, first.stdout + first.stderr
    raw = tmp_path / "home" / "raw"
    assert set(json.loads((raw / "downloads.json").read_text())) == {"shop/reviews.json.gz", "shop/meta.json.gz"}
    assert "Pictures: 2 fetched" in first.stdout and "1 gone from their servers, 1 failed" in first.stdout
    assert "1: status 404" in first.stdout and "1: a web page instead of a picture" in first.stdout
    assert (raw / "shop/images" / picture_path("I1", ".jpg")).read_bytes() == picture()
    assert (raw / "shop/images" / picture_path("I2", ".png")).is_file()
    assert server.asked["rare.jpg"] == 0  # the k-core left that item out
    records = [json.loads(line) for line in (raw / "shop/images/pictures.jsonl").read_text().splitlines()]
    assert [(record["item_id"], record["status"]) for record in records] == [
        ("I1", "ok"),
        ("I2", "ok"),
        ("I3", "failed"),
        ("I4", "missing"),
    ]
    before = server.asked.copy()
    second = bbqrec("fetch", shop)
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("there already") == 3 and "working" not in second.stderr
    assert server.asked - before == {"page.jpg": 1}


def test_a_raw_file_that_fails_is_told_with_exit_code_1(shop, bbqrec, server, tmp_path):
    server.answers["metadata"] = status(404)
    result = bbqrec("fetch", shop, "--no-images")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "status 404" in result.stdout and server.url("metadata") in result.stdout
    assert (tmp_path / "home/raw/shop/reviews.json.gz").is_file()


def test_ctrl_c_leaves_what_the_next_call_goes_on_with(shop, server, bbqrec, tmp_path):
    body = packed(2_000_000)
    server.answers["reviews"] = trickling(body, 100_000, 0.1)
    folder = tmp_path / "raw"
    environment = {**os.environ, "BBQREC_HOME": str(tmp_path / "home"), "BBQREC_RAW": str(folder)}
    command = [str(BIN / "bbqrec"), "fetch", str(shop), "--no-images"]
    running = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True)
    part = folder / "shop/reviews.json.gz.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 200_000, 30, "some bytes")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and "Interrupted" in said and "Traceback" not in said
    kept = part.stat().st_size
    assert bbqrec("fetch", shop, "--no-images", BBQREC_RAW=str(folder)).returncode == 0
    assert ("reviews", f"bytes={kept}-") in server.ranges
    assert (folder / "shop/reviews.json.gz").read_bytes() == body


def test_a_mirror_and_another_folder(shop, bbqrec, server, tmp_path):
    server.answers |= {"m/shop/reviews.json.gz": server.answers["reviews"], "m/shop/meta.json.gz": server.answers["metadata"]}
    result = bbqrec("fetch", shop, "--no-images", "--base-url", server.url("m"), BBQREC_RAW=str(tmp_path / "elsewhere"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "elsewhere/shop/meta.json.gz").is_file() and set(server.asked) == {"m/shop/reviews.json.gz", "m/shop/meta.json.gz"}


def test_loopback_is_refused_where_the_profile_does_not_allow_it(shop, bbqrec, server):
    result = bbqrec("fetch", shop, "--set", "source.download.allow_private_addresses=false")
    assert result.returncode == 1 and "not public" in result.stdout and "allow_private_addresses=true" in result.stdout
    assert not server.asked


def test_there_is_nothing_to_fetch_for_a_synthetic_shop(bbqrec):
    result = bbqrec("fetch", "demo")
    assert result.returncode == 1 and "nothing to fetch" in result.stderr and "Traceback" not in result.stderr
