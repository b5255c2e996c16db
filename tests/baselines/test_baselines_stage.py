"""The stage as a whole: files, loading back, determinism, and that nothing of the test split reaches it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from artificial_ingest import planted_sequences, twin_sequences, write_features, write_ingest, write_semantic_ids
from safetensors.torch import load_file

from bbqrec_core import schema
from bbqrec_core.baselines import load_recommenders
from bbqrec_core.baselines.popularity import Popularity
from bbqrec_core.baselines.stage import run
from bbqrec_core.dataset import SequenceDataset
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.evaluation.ranking import validation_metrics
from bbqrec_core.prior.artifact import load_knn
from bbqrec_core.prior.stage import run as tune_prior
from bbqrec_core.profile import load_profile
from bbqrec_core.stage import StageContext, Statistics

N_ITEMS = 30
QUICK = {"sasrec": {"epochs": 2, "dimensions": 16}, "knn": {"trials": 12, "drawn": 5}}
CODES = {"codebook_sizes": [8, 8, 8], "epochs": 2, "warmup_epochs": 1}
KEYS = ["popularity", "knn", "sasrec", "sasrec_with_codes", "sasrec_with_codes_and_prior"]
NAMES = ["popularity", "co-occurrence kNN", "SASRec", "SASRec with codes", "SASRec with codes and prior"]


def tuned(folder: Path, ingest: Path, section: dict[str, object] = QUICK) -> Statistics:
    (folder / "prior").mkdir(parents=True)
    return tune_prior(StageContext(load_profile("demo", {"baselines": section}), {"ingest": ingest}, folder / "prior", folder))


def fitted(
    folder: Path, ingest: Path, section: dict[str, object] = QUICK, n_items: int = N_ITEMS, sequence: dict[str, object] | None = None
) -> Statistics:
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    tuned(folder, ingest, section)
    profile = load_profile("demo", {"baselines": section, "quantization": CODES, "sequence": sequence or {}, "compute": {"device": "cpu"}})
    codes, features = write_semantic_ids(folder / "quantize", n_items), write_features(folder / "embed", n_items)
    inputs = {"ingest": ingest, "embed": features, "quantize": codes, "prior": folder / "prior"}
    return run(StageContext(profile, inputs, folder / "out", folder / "scratch"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ingest(tmp_path_factory.mktemp("baselines") / "ingest", planted_sequences(100, N_ITEMS, seed=3), N_ITEMS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ingest: Path) -> tuple[Path, Statistics]:
    folder = tmp_path_factory.mktemp("made")
    return folder / "out", fitted(folder, ingest)


def test_what_is_loaded_scores_as_what_was_fitted(made: tuple[Path, Statistics], ingest: Path) -> None:
    out, statistics = made
    recommenders = load_recommenders(out)
    assert [recommender.name for recommender in recommenders] == NAMES
    data = SequenceDataset.load(ingest, 20)
    for recommender, key in zip(recommenders, KEYS, strict=True):
        assert recommender.n_items == N_ITEMS
        assert validation_metrics(recommender, data.valid)["ndcg_at_10"] == statistics[f"{key}_valid_ndcg_at_10"]
        scores = recommender.score(torch.from_numpy(data.test.histories))
        assert scores.shape == (100, N_ITEMS)
        assert scores.dtype == torch.float32
    assert statistics["nan_values"] == 0
    assert statistics["models"] == ", ".join(NAMES)
    assert statistics["knn_valid_ndcg_at_10"] > statistics["popularity_valid_ndcg_at_10"]  # type: ignore[operator]


def test_content_has_a_say_where_it_helps_users_it_was_not_fitted_on(made: tuple[Path, Statistics], tmp_path: Path) -> None:
    """Behaviour knows nothing of what reads alike; in the other catalogue what reads alike is not bought together."""
    folder = write_ingest(tmp_path / "ingest", twin_sequences(150, 60), 60)
    statistics = fitted(tmp_path / "twins", folder, n_items=60)
    *_, without, mixed = load_recommenders(tmp_path / "twins" / "out")
    assert mixed.name == f"{without.name} and content"
    value = validation_metrics(mixed, SequenceDataset.load(folder, 20).valid)["ndcg_at_10"]
    assert value == statistics["sasrec_with_codes_and_prior_and_content_valid_ndcg_at_10"]
    assert value > statistics["sasrec_with_codes_and_prior_valid_ndcg_at_10"] + 0.1  # type: ignore[operator]
    assert "sasrec_with_codes_and_prior_and_content_valid_ndcg_at_10" not in made[1]


def test_sasrec_with_prior_is_mixed_by_our_models_rules(made: tuple[Path, Statistics], ingest: Path, tmp_path: Path) -> None:
    def repetition(out: Path) -> float:
        return json.loads((out / "sasrec_with_codes_and_prior" / "model.json").read_text())["mixture"]["repetition"]

    assert repetition(made[0]) != 0
    fitted(tmp_path, ingest, sequence={"repetition": False})
    assert repetition(tmp_path / "out") == 0


def test_trials_are_written_and_the_best_is_the_prior(ingest: Path, tmp_path: Path) -> None:
    statistics = tuned(tmp_path, ingest)
    trials = json.loads((tmp_path / "prior" / "trials.json").read_text())
    assert len(trials) == statistics["trials"] == 12
    assert {trial["valid_users"] for trial in trials} == {statistics["valid_users"]}
    best = max(trials, key=lambda trial: trial["valid_ndcg_at_10"])
    assert all(statistics[name] == value for name, value in best.items() if not name.startswith("valid_"))
    knn = load_knn(tmp_path / "prior")
    assert validation_metrics(knn, SequenceDataset.load(ingest, 20).valid)["ndcg_at_10"] == statistics["valid_ndcg_at_10"]
    curve = pq.read_table(tmp_path / "prior" / "curve.parquet")
    assert curve.schema.equals(schema.CURVE)
    assert curve["value"].to_pylist() == [trial["valid_ndcg_at_10"] for trial in trials]


def test_a_damaged_prior_is_named(ingest: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="co_occurrence cannot be read"):
        load_knn(tmp_path)
    tuned(tmp_path, ingest)
    (tmp_path / "prior" / "co_occurrence" / "model.json").write_text('{"kind": "co_occurrence"}')
    with pytest.raises(ArtifactError, match="Run the stage `prior` again"):
        load_knn(tmp_path / "prior")


def test_curves_are_written(made: tuple[Path, Statistics]) -> None:
    curve = pq.read_table(made[0] / "curve.parquet")
    assert curve.schema.equals(schema.CURVE)
    assert {"sasrec/train/loss", "sasrec/valid/ndcg_at_10", "sasrec_with_codes/valid/ndcg_at_10"} <= set(curve["name"].to_pylist())


def test_same_seed_same_bytes_and_the_test_split_reaches_nothing(made: tuple[Path, Statistics], ingest: Path, tmp_path: Path) -> None:
    """The last step of every test history is the validation target; the test file itself may hold anything."""
    other = tmp_path / "ingest"
    shutil.copytree(ingest, other)
    table = pq.read_table(other / "test.parquet")
    shuffled = np.random.default_rng(0).permutation(table["target"].to_numpy())
    targets = table.schema.get_field_index("target")
    pq.write_table(table.set_column(targets, "target", [shuffled.astype(np.int32)]), other / "test.parquet")
    statistics = fitted(tmp_path / "again", other)
    assert files(tmp_path / "again" / "out") == files(made[0])
    assert statistics == made[1]


def test_baselines_can_be_switched_off(ingest: Path, tmp_path: Path) -> None:
    statistics = fitted(tmp_path, ingest, {"knn": {"enabled": False}, "sasrec": {"enabled": False}})
    assert [recommender.name for recommender in load_recommenders(tmp_path / "out")] == ["popularity"]
    assert pq.read_table(tmp_path / "out" / "curve.parquet").num_rows == 0
    assert "sasrec_epochs_run" not in statistics


@pytest.mark.parametrize(("section", "names"), [({"codes": False}, NAMES[:3]), ({"prior": False}, NAMES[:4])])
def test_variants_of_sasrec_can_be_switched_off(ingest: Path, tmp_path: Path, section: dict[str, bool], names: list[str]) -> None:
    fitted(tmp_path, ingest, {"knn": QUICK["knn"], "sasrec": {"epochs": 1, "dimensions": 16, **section}})
    assert [recommender.name for recommender in load_recommenders(tmp_path / "out")] == names


@pytest.mark.parametrize("ids", ["rqvae", "ours"])
def test_tiger_can_be_switched_on(ingest: Path, tmp_path: Path, ids: str) -> None:
    tiger = {"enabled": True, "ids": ids, "examples": 100, "checks": 2, "batch_size": 32, "selection_users": 5, "beams": 4}
    statistics = fitted(tmp_path, ingest, {"knn": {"enabled": False}, "sasrec": {"enabled": False}, "tiger": tiger})
    [popularity, recommender] = load_recommenders(tmp_path / "out")
    assert (popularity.name, recommender.name) == ("popularity", "TIGER")
    assert statistics["tiger_best_examples"] in {50, 100}
    histories = torch.from_numpy(SequenceDataset.load(ingest, 20).test.histories)
    assert bool(recommender.score(histories).isfinite().all())
    curve = pq.read_table(tmp_path / "out" / "curve.parquet").to_pylist()
    assert [row["step"] for row in curve if row["name"] == "tiger/valid/ndcg_at_10"] == [1, 2]
    levels = len(load_file(tmp_path / "out" / "tiger" / "model.safetensors")["ids"][0])
    assert levels == (2 if ids == "ours" else 3)


def test_tiger_without_texts_and_pictures_is_told_to_take_ours(ingest: Path, tmp_path: Path) -> None:
    section = {"knn": {"enabled": False}, "sasrec": {"enabled": False}, "tiger": {"enabled": True}}
    fitted(tmp_path, ingest, section | {"tiger": {"enabled": False}})
    (tmp_path / "embed" / "text_embedding.parquet").unlink()
    (tmp_path / "embed" / "encoders.json").write_text("{}")
    inputs = {"ingest": ingest, "embed": tmp_path / "embed", "quantize": tmp_path / "quantize"}
    with pytest.raises(StageError, match="there are none") as caught:
        run(
            StageContext(
                load_profile("demo", {"baselines": section, "quantization": CODES}), inputs, tmp_path / "out", tmp_path / "scratch"
            )
        )
    assert "baselines.tiger.ids: ours" in caught.value.way_out


def test_popularity_counts_train_only(ingest: Path) -> None:
    data = SequenceDataset.load(ingest, 20)
    rows = pq.read_table(ingest / "train.parquet")["history"].to_pylist()
    expected = [sum(row.count(item) for row in rows) for item in range(N_ITEMS)]
    scores = Popularity(data.train_counts).score(torch.tensor([[-1, -1], [0, 3]]))
    assert scores.tolist() == [expected, expected]


def test_a_damaged_folder_is_named(made: tuple[Path, Statistics], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no baseline"):
        load_recommenders(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(made[0], broken)
    weights = broken / "sasrec" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="sasrec cannot be read"):
        load_recommenders(broken)
    weights.write_bytes(content)
    (broken / "sasrec" / "model.json").write_text('{"kind": "oracle"}')
    with pytest.raises(ArtifactError, match="unknown kind 'oracle'"):
        load_recommenders(broken)
    (broken / "sasrec" / "model.json").write_text('{"kind": "sasrec", "n_items": 3}')
    with pytest.raises(ArtifactError, match="does not fit its description"):
        load_recommenders(broken)
