import asyncio
import hashlib
import json
import time

import pytest
from download.bad_server import Server, content, lying, redirect, slow, stalling, status
from download.samples import HTML, QUICK, config, picture

from bbqrec_core.download.failures import FailedDownload
from bbqrec_core.download.images import FAILURES_TO_GIVE_UP, WantedPicture, fetch_pictures
from bbqrec_core.download.network import Client
from bbqrec_core.download.picture_records import RECORDS
from bbqrec_core.ingest.images import find_images
from bbqrec_core.ingest.pictures import picture_names, picture_path, safe_name


def fetch(folder, wanted, again=False, max_pixels=10_000, **fields):
    items = [WantedPicture(item_id, tuple(urls)) for item_id, urls in wanted.items()]
    return asyncio.run(fetch_pictures(items, folder, config(**fields), max_pixels, again, patience=QUICK))


def records(folder):
    return {record["item_id"]: record for record in map(json.loads, (folder / RECORDS).read_text().splitlines())}


def pictures(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != RECORDS)


def test_pictures_lie_in_shards_under_names_of_their_content(server, tmp_path):
    server.answers |= {"a.png": content(picture("JPEG")), "b": content(picture("PNG")), "c.jpg": content(picture("WEBP"))}
    summary = fetch(tmp_path, {"A": [server.url("a.png")], "B/1": [server.url("b")], "C": [server.url("c.jpg")]})
    assert (summary.fetched, summary.failed, summary.missing) == (3, 0, 0)
    assert pictures(tmp_path) == sorted([picture_path("A", ".jpg"), picture_path("B/1", ".png"), picture_path("C", ".webp")])
    record = records(tmp_path)["B/1"]
    assert record["status"] == "ok" and record["file"].endswith("/B%2F1.png") and record["url"] == server.url("b")
    assert record["sha256"] == hashlib.sha256((tmp_path / record["file"]).read_bytes()).hexdigest()


def test_the_next_call_fetches_what_is_missing_only(server, tmp_path):
    server.answers |= {"a": content(picture()), "b": [status(500)] * 3 + [content(picture())]}
    wanted = {"A": [server.url("a")], "B": [server.url("b")]}
    assert fetch(tmp_path, wanted).failed == 1
    summary = fetch(tmp_path, wanted)
    assert (summary.there, summary.fetched) == (1, 1)
    assert fetch(tmp_path, wanted).there == 2
    assert server.asked == {"a": 1, "b": 4}


def test_pictures_that_were_laid_there_or_damaged(server, tmp_path):
    server.answers["a"] = content(picture())
    (tmp_path / "A.png").write_bytes(picture("PNG"))  # flat, by hand
    assert fetch(tmp_path, {"A": [server.url("a")], "B": [server.url("a")]}).there == 1
    (tmp_path / picture_path("B", ".jpg")).write_bytes(b"half")
    assert fetch(tmp_path, {"B": [server.url("a")]}).fetched == 1
    (tmp_path / picture_path("B", ".jpg")).unlink()
    assert fetch(tmp_path, {"B": [server.url("a")]}).fetched == 1


def test_what_servers_do_not_have_is_not_asked_for_again(server, tmp_path):
    server.answers["gone"] = status(410)
    wanted = {"A": [server.url("none")], "B": [server.url("gone"), server.url("none2")]}
    summary = fetch(tmp_path, wanted)
    assert (summary.missing, summary.failed) == (2, 0) and summary.reasons == {"status 404": 2}
    second = fetch(tmp_path, wanted)
    assert second.missing == 2 and second.reasons == {"status 404 (not asked again)": 2}
    assert server.asked == {"none": 1, "gone": 1, "none2": 1}
    server.answers["none"] = content(picture())
    assert fetch(tmp_path, wanted, again=True).fetched == 1
    server.answers["new"] = content(picture())  # an address that was not known then
    assert fetch(tmp_path, {"B": [*wanted["B"], server.url("new")]}).fetched == 1
    assert server.asked["gone"] == 2


def test_addresses_are_tried_in_turn(server, tmp_path):
    server.answers |= {"page": content(HTML, Content_Type="image/jpeg"), "good": content(picture()), "unasked": content(picture())}
    wanted = {"A": [server.url("none"), "ftp://x/y", server.url("page"), server.url("good"), server.url("unasked")]}
    assert fetch(tmp_path, wanted).fetched == 1
    record = records(tmp_path)["A"]
    assert record["url"] == server.url("good") and list(record["tried"]) == wanted["A"][:3] and not server.asked["unasked"]


PNG = picture("PNG", 200, 200)


@pytest.mark.parametrize(
    ("answer", "reason", "tries"),
    [
        (content(HTML, Content_Type="image/jpeg"), "a web page instead of a picture", 1),
        (content(b"GIF89a" + b"\0" * 50), "no picture", 1),
        (content(b""), "no picture", 1),
        (content(picture()[:-40]), "a picture that cannot be used", 1),
        (content(PNG), "a picture that cannot be used", 1),
        (content(b"\xff\xd8\xff" + b"x" * 30_000), "more than 20,000 bytes", 1),
        (lying(b"\xff\xd8\xff" + b"x" * 30_000, None), "more than 20,000 bytes", 1),
        (lying(picture(), 100_000_000), "more than 20,000 bytes", 1),
        (lying(picture(), len(picture()) + 9), "the answer broke off or is no HTTP, 3 times", 3),
        (lying(picture(), 300), "a picture that cannot be used", 1),
        (stalling(picture(), 100, 10.0), "no answer for 0.3 s, 3 times", 3),
        (status(503), "status 503, 3 times", 3),
        (status(403), "status 403", 1),
        (status(204), "status 204", 1),
        (redirect("file:///etc/passwd"), "only http and https are fetched", 1),
    ],
)
def test_what_is_no_usable_picture_is_listed_with_the_reason(answer, reason, tries, server, tmp_path):
    server.answers["a"] = answer
    summary = fetch(tmp_path, {"A": [server.url("a")]}, max_image_bytes=20_000, timeout_seconds=0.3)
    assert summary.failed == 1 and summary.reasons == {reason: 1}
    assert records(tmp_path)["A"]["reason"] == reason and pictures(tmp_path) == []
    assert server.asked["a"] == tries


def test_a_trickle_ends(server, tmp_path):
    def trickle(handler):
        handler.begin(200, 10_000)
        for _ in range(100):
            handler.wfile.write(b"\xff")
            handler.pause(0.05)

    server.answers["a"] = trickle
    start = time.monotonic()
    assert fetch(tmp_path, {"A": [server.url("a")]}, timeout_seconds=0.1).failed == 1
    assert time.monotonic() - start < 4.5


def test_private_addresses_are_refused_without_being_asked(server, tmp_path):
    server.answers["a"] = content(picture())
    summary = fetch(tmp_path, {"A": [server.url("a")], "B": ["http://169.254.169.254/latest"]}, allow_private_pictures=False)
    assert summary.failed == 2 and not server.asked  # although private addresses of raw files are allowed
    assert "127.0.0.1" in next(iter(records(tmp_path)["A"]["tried"].values()))


def test_a_refused_raw_file_and_a_refused_picture_name_their_settings(server):
    for pictures, setting in ((False, "allow_private_addresses"), (True, "allow_private_pictures")):

        async def ask(pictures: bool = pictures, setting: str = setting) -> None:
            async with Client(config(**{setting: False}), pictures) as client, client.get(server.url("a")):
                pass

        with pytest.raises(FailedDownload) as refused:
            asyncio.run(ask())
        assert f"source.download.{setting}=true" in refused.value.way_out


@pytest.mark.parametrize("item_id", ["A", "a b", "caf\u00e9", "100%", "A/B", "A%2FB", "a%20b", "..", "x" * 300])
def test_fetch_sees_the_pictures_that_ingest_sees(item_id, server, tmp_path):
    others = ["A/B", "a b", "A%2FB"]
    for name in picture_names(item_id):
        assert name not in [other for one in others if one != item_id for other in picture_names(one)]
        if len(name) < 250:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(picture())
            assert fetch(tmp_path, {item_id: [server.url("a")]}).there == 1
            [found] = find_images(tmp_path, [(item_id, None)], 10_000, 1)
            assert (found.file, found.problem) == (name, None)
            (tmp_path / name).unlink()
    assert not server.asked


def test_a_host_is_asked_by_so_many_at_once(server, tmp_path):
    wanted = {}
    for number in range(24):
        server.answers[f"{number}"] = slow(picture(color=number), 0.05)
        wanted[f"I{number}"] = [server.url(f"{number}")]
    assert fetch(tmp_path, wanted, connections_per_host=3).fetched == 24
    assert server.most_at_once == 3


def test_all_hosts_together_are_asked_by_so_many_at_once(server, tmp_path):
    other = Server("127.0.0.2")
    wanted = {}
    for number in range(16):
        server.answers[f"{number}"] = other.answers[f"{number}"] = slow(picture(color=number), 0.1)
        wanted[f"I{number}"] = [server.url(f"{number}") if number % 2 else f"http://127.0.0.2:{other.port}/{number}"]
    assert fetch(tmp_path, wanted, connections=4, connections_per_host=3).fetched == 16
    assert server.most_at_once <= 3 and other.most_at_once <= 3 and 4 <= server.most_at_once + other.most_at_once <= 6
    other.stop()


def test_a_busy_host_is_left_alone(server, tmp_path):
    server.answers["a"] = [status(429, Retry_After="1"), content(picture())]
    wanted = {f"I{number}": [server.url("a")] for number in range(10)}
    start = time.monotonic()
    assert fetch(tmp_path, wanted, connections_per_host=1).fetched == 10
    assert time.monotonic() - start > 0.9
    assert server.asked["a"] == 11


def test_a_host_that_only_fails_is_given_up(server, tmp_path):
    wanted = {f"I{number:03}": [server.url(f"{number}")] for number in range(100)}
    server.answers |= {f"{number}": status(500) for number in range(100)}
    summary = fetch(tmp_path, wanted, connections=1)
    assert summary.failed == 100
    assert any(reason.startswith("not asked") for reason in summary.reasons)
    assert sum(server.asked.values()) <= 3 * (FAILURES_TO_GIVE_UP + 4)


def test_what_a_killed_call_leaves_is_of_use(server, tmp_path):
    server.answers |= {"a": content(picture()), "b": content(picture())}
    wanted = {"A": [server.url("a")], "B": [server.url("b")], "C": [server.url("c")]}
    fetch(tmp_path, wanted)
    with (tmp_path / RECORDS).open("a") as file:
        file.write('{"item_id": "B", "status": "fai')
    part = tmp_path / (picture_path("B", ".jpg") + ".part")
    part.write_bytes(b"half")
    summary = fetch(tmp_path, {**wanted, "D": [server.url("a")]})
    assert (summary.there, summary.missing, summary.fetched) == (2, 1, 1)
    assert not part.exists() and len(records(tmp_path)) == 4


def test_names_are_plain_and_differ():
    odd = ["..", ".", "", "a/b", "a%2Fb", "a\0b", "é" * 300, "é" * 301, "CON", "a b", "\udcff"[:0] + "x" * 500]
    names = [safe_name(item_id) for item_id in odd]
    assert len(set(names)) == len(odd) and all(len(name) < 200 and "/" not in name and "\0" not in name for name in names)
    assert picture_path("B00ABC/1", ".jpg") == f"{hashlib.md5(b'B00ABC/1').hexdigest()[:2]}/B00ABC%2F1.jpg"
