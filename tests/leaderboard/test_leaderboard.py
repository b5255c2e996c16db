"""The leaderboard: its files, its arithmetic, its page, and one made for real."""

import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bbqrec_core import schema
from bbqrec_core.errors import ArtifactError, ProfileError
from bbqrec_core.leaderboard.page import Chapter, own_table, page
from bbqrec_core.leaderboard.picture import picture
from bbqrec_core.leaderboard.published import Published, read_published
from bbqrec_core.leaderboard.spec import Leaderboard, find_leaderboard, load_leaderboard
from bbqrec_core.leaderboard.standings import PerUser, rank_models, read_ranks, with_stand_ins
from bbqrec_core.profile import load_profile, merge
from cli.leaderboard import default_page

HEADER = "dataset,model,masked,recall_at_10,ndcg_at_10,source\n"
TINY = Path(__file__).parents[1] / "tiny.yaml"


def per_user(ndcg: list[float]) -> PerUser:
    values = np.array(ndcg)
    return {(masked, metric): values * (1.0 if masked else 0.5) for masked in (True, False) for metric in ("ndcg", "recall")}


@pytest.mark.parametrize("name", ["research", "parts", "tiger"])
def test_a_shipped_leaderboard_is_sound(name):
    path = find_leaderboard(name)
    spec = load_leaderboard(path)
    published = read_published(path.parent / spec.published) if spec.published else []
    for split in spec.splits:
        for change in ({}, *(variant.set for variant in spec.variants)):
            load_profile(split.profile, merge(split.set, change))
        known = [row for row in published if row.dataset == split.published]
        assert known or not split.published, f"nothing published of {split.published}"
    assert all(row.ndcg is not None or row.recall is not None for row in published)


def test_a_split_may_have_seeds_of_its_own_until_others_are_asked_for():
    splits = [{"profile": "demo", "title": "A"}, {"profile": "gift_cards", "title": "B", "seeds": [7]}]
    spec = Leaderboard.model_validate({"title": "T", "seeds": [1, 2], "splits": splits})
    assert [spec.seeds_of(split) for split in spec.splits] == [(1, 2), (7,)]
    asked = spec.reduced([3, 4])
    assert [asked.seeds_of(split) for split in asked.splits] == [(3, 4)] * 2
    only = spec.reduced(profiles=["gift_cards"])
    assert [only.seeds_of(split) for split in only.splits] == [(7,)]
    assert spec.reduced() == spec


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no mapping"),
        ("title: A\nsplits: []\n", "splits"),
        ("title: A\nsplits: [{profile: demo, title: B, publisched: C}]\n", "publisched"),
        ("title: A\nseeds: [1, 1]\nsplits: [{profile: demo, title: B}]\n", "only once"),
        ("title: A\nsplits: [{profile: demo, title: B, seeds: [2, 2]}]\n", "only once"),
        ("title: A\nsplits: [{profile: demo, title: B}, {profile: demo, title: B}]\n", "title of its own"),
        ("title: A\nseeds: [1, -1]\nsplits: [{profile: demo, title: B}]\n", "'seeds.1': Input should be greater than or equal to 0"),
        ("title: A\nsplits: [{profile: demo, title: B}]\nvariants: [{name: C refitted, set: {}}]\n", "learned from validation"),
        ("title: A\nsplits: [{profile: demo, title: B}]\nvariants: [{name: C, set: {seed: 7}}]\n", "seed cannot be set"),
        ("title: A\nsplits: [{profile: demo, title: B}]\nvariants: [{name: C, set: {ingest: {k_user: 3}}}]\n", "ingest cannot be set"),
        ("title: [\n", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_leaderboard_is_told(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=told):
        load_leaderboard(path)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--seed", "1", "--seed", "1"], "cannot be run like this: 'seeds': Value error, a seed may be named only once"),
        (["--seed", "-1"], "cannot be run like this: 'seeds.0': Input should be greater than or equal to 0"),
        (["--only", "digital_music"], "no split of the profile digital_music"),
        (["--out", "board.svg"], "The page cannot go to board.svg"),
    ],
    ids=lambda asked: " ".join(asked) if isinstance(asked, list) else "",
)
def test_what_cannot_be_asked_of_a_leaderboard_is_told_before_anything_starts(tmp_path, asked, told):
    command = [sys.executable, "-m", "cli.main", "leaderboard", *asked]
    result = subprocess.run(command, env={**os.environ, "BBQREC_HOME": str(tmp_path / "home")}, capture_output=True, text=True, check=False)
    said = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0 and told in said and "Traceback" not in said
    assert not (tmp_path / "home" / "prefect").exists()


def test_an_unknown_leaderboard_is_told_beside_those_there_are(tmp_path):
    with pytest.raises(ProfileError, match="research"):
        find_leaderboard("reserch")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_leaderboard(find_leaderboard(str(tmp_path / "none.yaml")))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("shop,TIGER,no,0.1,1.5,a paper", "line 2: ndcg_at_10 is '1.5'"),
        ("shop,TIGER,no,ten,0.5,a paper", "line 2: recall_at_10 is 'ten'"),
        ("shop,TIGER,perhaps,0.1,0.5,a paper", "masked is 'perhaps'"),
        ("shop,,no,0.1,0.5,a paper", "model is empty"),
        ("shop,TIGER,no,0.1,0.5,a paper, table 2", "too many columns"),
    ],
)
def test_a_published_row_that_does_not_fit_is_told_by_its_line(tmp_path, line, told):
    path = tmp_path / "published.csv"
    path.write_text(HEADER + line + "\n")
    with pytest.raises(ProfileError, match=told):
        read_published(path)


def test_published_rows_need_their_columns(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text("model,ndcg\nTIGER,0.5\n")
    with pytest.raises(ProfileError, match="It needs: dataset, model"):
        read_published(path)


def test_users_are_matched_by_name_however_they_are_numbered(tmp_path):
    """Two runs number the users differently; every user's value must land in the same place."""
    found = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):  # user_idx of the users a, b, c
        ingest, evaluate = tmp_path / f"ingest{number}", tmp_path / f"evaluate{number}"
        ingest.mkdir()
        evaluate.mkdir()
        rows = [
            {
                "user_idx": index,
                "item_idx": 0,
                "user_id": name,
                "item_id": "x",
                "rating": None,
                "timestamp": None,
                "position": 0,
                "part": "test",
            }
            for index, name in zip(order, "abc", strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema.INTERACTIONS), ingest / "interactions.parquet")
        above = {"a": 0, "b": 1, "c": 99}
        ranks = [
            {"model": "M", "masked": masked, "user_idx": index, "above": above[name], "tied": 0}
            for masked in (True, False)
            for index, name in sorted(zip(order, "abc", strict=True))
        ]
        pq.write_table(pa.Table.from_pylist(ranks, schema=schema.RANKS), evaluate / "ranks.parquet")
        run = read_ranks(ingest, evaluate)
        assert run.users == ("a", "b", "c")
        found.append(run.models["M"][True, "ndcg"])
    np.testing.assert_allclose(found[0], [1.0, 1 / math.log2(3), 0.0])
    np.testing.assert_allclose(found[1], found[0])


def test_standings_are_means_over_seeds_beside_ours():
    n = 400
    rng = np.random.default_rng(0)
    ours = [rng.uniform(0.4, 0.6, n) for _ in range(2)]
    runs = {
        "BBQRec": [per_user(list(run)) for run in ours],
        "worse": [per_user(list(run - 0.1)) for run in ours],
        "equal": [per_user(list(run)) for run in ours],
        "equal refitted": [per_user(list(run + 0.1)) for run in ours],
        "of one seed": [per_user(list(ours[0] - 0.05))],
    }
    standings = {standing.model: standing for standing in rank_models(runs, "BBQRec", ["BBQRec"], 1)}
    assert list(standings)[-2:] == ["worse", "equal refitted"], "what has learned from validation too stands below, however good it is"
    assert standings["BBQRec"].ours and standings["BBQRec"].difference is None
    value = standings["BBQRec"].values[True, "ndcg"]
    assert value.mean == pytest.approx(np.mean(ours))
    assert value.low < value.mean < value.high
    assert value.between_seeds == pytest.approx(np.std([run.mean() for run in ours], ddof=1))
    assert standings["worse"].difference == pytest.approx(-0.1)
    assert standings["worse"].p is not None and standings["worse"].p < 0.01
    assert standings["equal"].p == 1.0
    assert (standings["equal refitted"].difference, standings["equal refitted"].p) == (None, None)  # it has learned from validation too
    alone = standings["of one seed"]
    assert (alone.seeds, alone.difference, alone.p) == (1, None, None), "one seed's luck is not set beside the mean of two"
    assert any(
        line.startswith("| of one seed, 1 of 2 seeds | 0.") and line.endswith("| - | - |") for line in own_table(list(standings.values()))
    )
    with pytest.raises(ArtifactError, match="different numbers"):
        rank_models({"BBQRec": [per_user([0.1, 0.2])], "other": [per_user([0.1])]}, "BBQRec", [], 1)


def test_where_content_has_no_say_a_model_that_was_offered_it_is_the_one_without():
    chosen, refused = per_user([0.5]), per_user([0.4])
    seeds = with_stand_ins([{"A": refused, "A and content": chosen}, {"A": refused, "other": chosen}])
    assert seeds[1]["A and content"] is refused and seeds[0]["A and content"] is chosen
    assert "other" not in seeds[0] and set(seeds[1]) == {"A", "A and content", "other"}
    assert with_stand_ins([{"A": chosen}]) == [{"A": chosen}]


def chapter() -> Chapter:
    runs = {"BBQRec": [per_user([0.5, 0.7])], "a | b <c>": [per_user([0.1, 0.2])], "BBQRec refitted": [per_user([0.3, 0.4])]}
    published = [
        Published("shop", "TIGER", False, 0.2, 0.15, "a paper"),
        Published("shop", "no NDCG", False, 0.2, None, "a paper"),
        Published("shop", "masked", True, 0.2, 0.11, "a paper"),
    ]
    return Chapter("A shop", "demo", [3], 2, 9, rank_models(runs, "BBQRec", ["BBQRec"], 1), published, "Its SASRec is odd.")


def test_the_page_sets_published_results_among_ours_where_they_may_be_compared():
    text = page("Board", "bbqrec leaderboard mine", [chapter()], "board.svg")
    assert "Profile `demo`, seed 3: 2 test users, 9 items. Its SASRec is odd." in text and "![NDCG@10 by split](board.svg)" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    assert table[1].startswith("| **BBQRec** | 0.6000 [")
    assert "a \\| b <c>" in table[2] and "-0.4500" in table[2]
    assert table[3].startswith("| BBQRec refitted | 0.3500 [") and table[3].endswith("| - | - |")
    names = [line.split(" | ")[0] for line in table[5:9]]
    assert names == ["| **BBQRec**", "| TIGER", "| a \\| b <c>", "| no NDCG"]
    assert table[-1] == "| masked | 0.1100 | 0.2000 | a paper |"


def test_the_picture_is_sound_svg_with_a_bar_per_model():
    drawn = ET.fromstring(picture("Board", [chapter(), chapter()]))
    bars = [node for node in drawn.iter("{http://www.w3.org/2000/svg}rect") if node.get("class") in ("ours", "neutral")]
    assert len(bars) == 2 * 3  # the published row with a value, and neither the masked one nor ours that learned from validation too
    assert "TIGER*" in "".join(drawn.itertext())


def test_a_long_title_is_broken_and_everything_below_moves_down():
    short, long = chapter(), replace(chapter(), title="A shop with a name, " * 8)
    heights, headings = [], []
    for chapters in ([short, short], [long, short]):
        drawn = ET.fromstring(picture("Board", chapters))
        heights.append(float(drawn.get("height") or 0))
        headings.append([node for node in drawn.iter("{http://www.w3.org/2000/svg}text") if node.get("class") == "heading"])
    assert [len(found) for found in headings] == [2, 4]
    assert max(len(node.text or "") for node in headings[1]) <= 76
    moved = float(headings[1][-1].get("y") or 0) - float(headings[0][-1].get("y") or 0)
    assert moved == heights[1] - heights[0] == 40


@pytest.mark.slow
def test_a_leaderboard_made_for_real_goes_on_where_it_was(tmp_path):
    (tmp_path / "published.csv").write_text(HEADER + "shop,TIGER,no,0.1,0.07,a paper\n")
    spec = {
        "title": "Tiny",
        "seeds": [1],
        "published": "published.csv",
        "splits": [{"profile": str(TINY), "title": "A small shop", "published": "shop"}],
        "variants": [{"name": "plain attention", "set": {"sequence": {"code_sources": [], "similarity": {"sources": []}}}}],
    }
    (tmp_path / "board.yaml").write_text(json.dumps(spec))
    environment = {**os.environ, "BBQREC_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "cli.main", "leaderboard", str(tmp_path / "board.yaml"), "--out", str(tmp_path / "docs" / "board.md")]
    pages = []
    for attempt in range(2):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        said = " ".join((result.stdout + result.stderr).split())
        made = {stage: said.count(f"{stage}: made") for stage in ("embed", "train", "refit", "baselines", "evaluate")}
        assert made == ({"embed": 1, "train": 2, "refit": 1, "baselines": 1, "evaluate": 2} if attempt == 0 else dict.fromkeys(made, 0))
        pages.append((tmp_path / "docs" / "board.md").read_text())
        assert (tmp_path / "docs" / "board.svg").exists()
    assert pages[0] == pages[1]
    assert pages[0].count("| **plain attention** |") == 3, "mixed, the heads alone, and among published results"
    alone = pages[0].split("The heads alone")[1].split("Seen items not masked")[0]
    assert alone.count("| **plain attention** |") == alone.count("| **BBQRec without prior** |") == 1
    assert "seed 1: " in pages[0] and "| TIGER | 0.0700 |" in pages[0]


@pytest.mark.parametrize(
    ("name", "whole", "page_at"),
    [
        ("research", True, "docs/leaderboard.md"),
        ("research", False, "leaderboard-research.md"),
        ("parts", True, "leaderboard-parts.md"),
        ("/elsewhere/research.yaml", True, "leaderboard-research.md"),
    ],
)
def test_nothing_but_the_whole_of_it_takes_the_documentations_place(name, whole, page_at):
    assert default_page(name, whole) == Path(page_at)
