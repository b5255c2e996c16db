"""The gate of `ingest`: rejects beyond the limit and miscounted lines stop the flow, a partial data set is told of."""

import gzip
import json

import pytest
from ingest_raw import as_line, context, listing, make_profile, review

from bbqrec_core.data_note import data_note
from bbqrec_core.errors import GateError
from bbqrec_core.gate_config import GatesConfig
from bbqrec_core.ingest.stage import run
from bbqrec_core.profile import load_profile
from bbqrec_core.store import ArtifactRef, ArtifactStore
from tasks.gates.gate import pass_gate

SMALL = {"min_users": 1, "min_items": 1, "min_interactions": 1, "min_users_evaluated": 1}
DAY, IN_2018 = 86_400, 1_530_000_000
ROWS = [review(f"U{user}", f"I{item}", IN_2018 + DAY * (user + item)) for user in range(8) for item in range(5)]


def ingest(tmp_path, lines, cut=0, listed="I", **options):
    """Statistics of the stage on some lines of reviews; `listed` is what names in the metadata begin with."""
    raw = tmp_path / "raw"
    raw.mkdir()
    packed = gzip.compress(b"".join(as_line(line) + b"\n" for line in lines), mtime=0)
    (raw / "reviews.json.gz").write_bytes(packed[: len(packed) - cut])
    (raw / "meta.json.gz").write_bytes(b"".join(as_line(listing(f"{listed}{item}")) + b"\n" for item in range(5)))
    return run(context(tmp_path, make_profile(raw, ingest=options)))


def judge(tmp_path, statistics, **thresholds):
    store, ref = ArtifactStore(tmp_path / "home"), ArtifactRef(stage="ingest", fingerprint="f1")
    with store.locked(ref), store.drafting(ref) as draft:
        (draft.out / "file").write_text("x")
        made = store.commit(draft, {"statistics": statistics})
    return pass_gate(made, GatesConfig(**{**SMALL, **thresholds}), store)


def test_a_sound_data_set_passes_without_a_warning(tmp_path):
    assert judge(tmp_path, ingest(tmp_path, ROWS)).warnings == []


def test_too_many_rejects_stop_the_flow_and_the_reasons_are_told(tmp_path):
    statistics = ingest(tmp_path, [*ROWS, b"broken", b"broken", b"3"])
    with pytest.raises(GateError) as caught:
        judge(tmp_path, statistics, max_reject_share=0.01)
    assert "ING-005" in caught.value.problem and "not JSON (2 lines), not a JSON object (1 lines)" in caught.value.problem
    assert "inspect ingest/f1" in caught.value.way_out
    assert judge(tmp_path, statistics, max_reject_share=0.1).warnings == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"accounting_difference": 1}, "ING-001"),
        ({"metadata_accounting_difference": -1}, "ING-011"),
        ({"misplaced_interactions": 1}, "ING-017"),
        ({"null_timestamp": 1}, "ING-014"),
        ({"metadata_reject_share": 0.5}, "ING-015"),
        ({"reject_share": None}, "ING-005"),
        ({"density": "much"}, "ING-021"),  # a crashed expectation stops whatever its severity
    ],
)
def test_what_must_never_be_stops_the_flow(tmp_path, change, code):
    statistics = ingest(tmp_path, ROWS) | change
    with pytest.raises(GateError, match=code):
        judge(tmp_path, statistics)


def test_a_partial_data_set_passes_with_a_warning_that_says_so(tmp_path):
    statistics = ingest(tmp_path, ROWS * 3, cut=20, use_cut_files=True)
    [warning] = [warning for warning in judge(tmp_path, statistics).warnings if "ING-016" in warning]
    assert "reviews.json.gz is cut off" in warning
    assert data_note("", statistics).startswith("Partial data: reviews.json.gz is cut off")
    assert data_note("A note.", {"partial": False}) == "A note."


def warnings_of(tmp_path, statistics, **thresholds):
    return [warning for warning in judge(tmp_path, statistics, min_text_share=0, **thresholds).warnings if "ING-02" in warning]


def test_metadata_of_something_else_is_warned_of(tmp_path):
    statistics = ingest(tmp_path, ROWS, listed="OTHER")
    assert statistics["unknown_item_share"] == 1.0
    [warning] = warnings_of(tmp_path, statistics)
    assert "ING-023 (warning): unknown_item_share is 1, must be 0 to 0.95" in warning
    assert warnings_of(tmp_path, statistics, max_unknown_item_share=1.0) == []


def test_a_source_without_metadata_knows_no_item_and_need_not(tmp_path):
    lines = "".join(f"{row['reviewerID']},{row['asin']},{row['unixReviewTime']}\n" for row in ROWS)
    (tmp_path / "orders.csv").write_text(f"user_id,item_id,timestamp\n{lines}")
    profile = tmp_path / "shop.yaml"
    source = {"kind": "tables", "raw": str(tmp_path), "tables": {"interactions": "orders.csv"}}
    profile.write_text(json.dumps({"source": source, "ingest": {"k_user": 1, "k_item": 1}, "compute": {"threads": 1}}))
    statistics = run(context(tmp_path, load_profile(str(profile))))
    assert (statistics["items_without_metadata"], statistics["unknown_item_share"]) == (5, 0.0)
    assert warnings_of(tmp_path, statistics) == []


def test_times_of_before_shops_were_online_are_warned_of(tmp_path):
    early = [review(f"U{user}", f"I{item}", 10_000 + user + item) for user in range(8) for item in range(5)]
    [warning] = warnings_of(tmp_path, ingest(tmp_path, early))
    assert "ING-024" in warning and "source.tables.time_unit" in warning
