"""The baselines behind the tokenizers' interface: legal, deterministic, repaired IDs from train alone, and their own equations."""

import hashlib
import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from artificial_catalogue import make_profile
from pydantic import ValidationError
from safetensors.torch import load_file

from bbqrec_core import schema
from bbqrec_core.dataset import ItemFeatures, SequenceDataset, load_semantic_ids
from bbqrec_core.errors import ArtifactError, StageError
from bbqrec_core.quantization import stage
from bbqrec_core.quantization.assign import TrainedQuantizer
from bbqrec_core.quantization.assign import assign as assign_with_bbqrec
from bbqrec_core.quantization.collisions import repair
from bbqrec_core.quantization.config import QuantizationConfig
from bbqrec_core.quantization.data import load_item_features, prepare
from bbqrec_core.quantization.tokenizers import given, letter, registry, residual_kmeans, rqvae
from bbqrec_core.quantization.tokenizers.interface import PlainCodebooks
from bbqrec_core.quantization.training import Trainer
from bbqrec_core.stage import StageContext

LEARNED = ["rqvae", "residual_kmeans", "rqvae_per_modality", "letter"]
ALL = [*LEARNED, "given"]
SMALL = {"epochs": 3, "warmup_epochs": 1, "rqvae": {"dimensions": 8, "hidden": [32]}, "letter": {"clusters": 3, "diversity_weight": 0.1}}
LEVELS = 3
MEASURED_ON_VALIDATION = "behaviour_lcp"


def publish(ingest, catalogue, without=(), collide=True):
    """Published codes, the text ones colliding in pairs; items in `without` have none."""
    rng = np.random.default_rng(4)
    n = catalogue.n_items
    text = rng.integers(0, [5, 6, 7], (n, LEVELS))
    image = rng.integers(0, [5, 9, 7], (n, LEVELS))
    if collide:
        text[1::2] = text[::2]
    rows = [
        {
            "item_idx": item,
            "text": None if item in without else text[item].tolist(),
            "image": image[item].tolist() if catalogue.has_image[item] else None,
        }
        for item in range(n)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema.GIVEN_CODES), ingest / "given_codes.parquet")
    return text, image


def run_tokenizer(catalogue, folder, tokenizer, seed=7, published=True, without=(), **fields):
    inputs = catalogue.write(folder)
    if published:
        publish(inputs["ingest"], catalogue, without)
    out = folder / "out"
    out.mkdir()
    profile = make_profile(seed, **{**SMALL, "tokenizer": tokenizer, **fields})
    return out, stage.run(StageContext(profile, inputs, out, folder / "scratch"))


def training_data(catalogue, folder, **fields):
    paths, config = catalogue.write(folder), make_profile(**{**SMALL, **fields}).quantization
    dataset = SequenceDataset.load(paths["ingest"], 20)
    return prepare(dataset, load_item_features(paths["embed"], paths["ingest"]), config), config


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module", params=ALL)
def tokenized(request, catalogue, tmp_path_factory):
    """One run of the stage per tokenizer; published codes repaired."""
    torch.set_num_threads(1)
    out, statistics = run_tokenizer(catalogue, tmp_path_factory.mktemp(request.param), request.param, given={"repair": True})
    return request.param, out, statistics


@pytest.fixture
def features(catalogue):
    half = lambda values: values.astype(np.float16).astype(np.float32)  # noqa: E731
    return {
        "text": ItemFeatures(half(catalogue.text), catalogue.has_text),
        "image": ItemFeatures(half(catalogue.image), catalogue.has_image),
    }


def test_every_tokenizer_writes_the_same_files_with_legal_and_repaired_ids(tokenized, quantized, catalogue):
    name, out, statistics = tokenized
    assert {path.name for path in out.iterdir()} == {path.name for path in quantized[0].iterdir()}
    assert set(quantized[1]) - {key for key in quantized[1] if key.startswith("final_")} <= set(statistics)
    ids, vectors = load_semantic_ids(out), load_file(out / "quantized.safetensors")
    codes, present = ids["fused"]
    sizes = [int(size) for size in statistics["codebook_sizes"].split(",")]
    assert sizes == ([5, 9, 7] if name == "given" else [8, 8, 16])
    assert present.all() and ((codes >= 0) & (codes < sizes)).all()
    assert len(np.unique(codes, axis=0)) == catalogue.n_items == statistics["distinct_ids"]
    assert statistics["collision_share"] == 0 and statistics["null_fused_codes"] == 0 and statistics["nan_losses"] == 0
    np.testing.assert_array_equal(ids["image"][1], catalogue.has_image)
    for source in ("fused", "text", "image"):
        assert vectors[source].dtype == torch.float32 and vectors[source].isfinite().all()
        assert vectors[source].shape == (catalogue.n_items, vectors["fused"].shape[1])
        np.testing.assert_array_equal(vectors[source].any(1).numpy(), ids[source][1])
    health = pq.read_table(out / "codebook_health.parquet").to_pylist()
    assert {row["source"] for row in health} == {"fused", "text", "image"}
    assert ("fused", "r2_text") in {(row["source"], row["name"]) for row in health}
    usage = pq.read_table(out / "usage.parquet").to_pylist()
    assert sum(row["items"] for row in usage if row["source"] == "fused") == LEVELS * catalogue.n_items


def test_codes_carry_the_features(tokenized):
    name, _, statistics = tokenized
    if name == "given":
        assert statistics["fused_r2_text"] < 0.1  # these were drawn at random
    else:
        assert statistics["fused_r2_text"] > 0.3


def test_same_seed_same_bytes_whatever_the_test_targets(tokenized, catalogue, changed, tmp_path):
    name, out, statistics = tokenized
    torch.manual_seed(99)
    np.random.seed(99)
    targets = np.random.default_rng(0).permutation(catalogue.test).tolist()
    targets[::2] = [max(row) for row in catalogue.train[::2]]
    other, same = run_tokenizer(changed(test=targets), tmp_path, name, given={"repair": True})
    assert digests(other) == digests(out) and same == statistics


def test_validation_moves_nothing_but_its_own_measurement(tokenized, catalogue, changed, tmp_path):
    name, out, _ = tokenized
    valid = np.random.default_rng(1).permutation(catalogue.valid).tolist()
    other, _ = run_tokenizer(changed(valid=valid), tmp_path, name, given={"repair": True})
    before, after = digests(out), digests(other)
    assert {file for file in before if before[file] != after[file]} == {"codebook_health.parquet"}


def test_assign_gives_catalogue_items_their_own_wished_codes(tokenized, catalogue, features):
    name, out, _ = tokenized
    saved = registry.load(out)
    tensors = {key: torch.from_numpy(np.where(item.present[:, None], item.values, 0)) for key, item in features.items()}
    masks = {key: torch.from_numpy(item.present) for key, item in features.items()}
    known = saved.tokenizer.encode(tensors, masks, np.arange(catalogue.n_items))
    if name == "given":
        with pytest.raises(StageError, match="new items cannot be given any"):
            registry.assign(saved, features)
        return
    new = saved.tokenizer.encode(tensors, masks, None)
    np.testing.assert_array_equal(new.wished, known.wished)
    given_ids = registry.assign(saved, features, existing_ids=np.empty((0, LEVELS), np.int64), existing_hashes=np.empty(0, np.int64))
    np.testing.assert_array_equal(given_ids.fused[~given_ids.moved], known.wished[~given_ids.moved])
    unmoved = (saved.semantic_ids == known.wished).all(1)
    assert unmoved.mean() > 0.3
    for modality, (codes, present) in load_semantic_ids(out).items():
        if modality != "fused":
            np.testing.assert_array_equal(new.modality_codes[modality][present], codes[present])


def test_new_items_get_ids_that_nobody_has(tokenized, features):
    name, out, _ = tokenized
    if name == "given":
        pytest.skip("codes no new items")
    saved = registry.load(out)
    assigned = registry.assign(saved, {"text": features["text"]})
    everyone = np.concatenate([saved.semantic_ids, assigned.fused])
    assert len(np.unique(everyone, axis=0)) == len(everyone)
    with pytest.raises(StageError, match="text features have 5 dimensions"):
        registry.assign(saved, {"text": ItemFeatures(features["text"].values[:, :5], features["text"].present)})
    with pytest.raises(StageError, match="no modality"):
        registry.assign(saved, {})
    with pytest.raises(ArtifactError, match="format version"):
        TrainedQuantizer.load(out)


@pytest.mark.parametrize("name", LEARNED)
def test_nothing_is_fitted_on_cold_items(name, catalogue, changed, tmp_path):
    text, image = catalogue.text.copy(), catalogue.image.copy()
    text[-5:], image[-5:] = 100 * text[:5], -100.0
    first, _ = run_tokenizer(catalogue, tmp_path / "a", name)
    second, _ = run_tokenizer(changed(text=text, image=image), tmp_path / "b", name)
    weights = [load_file(folder / "quantizer.safetensors") for folder in (first, second)]
    for key in weights[0]:
        assert key.startswith("catalogue/") or torch.equal(weights[0][key], weights[1][key]), key


# The default


def test_ours_through_the_interface_is_what_it_was_without(quantized, catalogue, tmp_path):
    """Model, IDs, hashes and meaning, byte for byte, from the parts alone."""
    out, _ = quantized
    data, config = training_data(catalogue, tmp_path / "in", epochs=6, warmup_epochs=4)
    config = make_profile().quantization
    with stage.deterministic(1):
        trainer = Trainer(data, config, 7, torch.device("cpu"))
        curve = trainer.train()
    saved = TrainedQuantizer.load(out)
    (tmp_path / "out").mkdir()
    TrainedQuantizer(trainer.model, saved.semantic_ids, saved.listing_hashes).save(tmp_path / "out")
    for name, digest in digests(tmp_path / "out").items():
        assert digest == digests(out)[name]
    assert [tuple(row.values()) for row in pq.read_table(out / "curve.parquet").to_pylist()] == curve.rows
    meaning = json.loads((out / "quantizer.json").read_text())
    assert "tokenizer" not in meaning and "tokenizer" not in meaning["config"] and "rqvae" not in meaning["config"]


def test_the_registry_loads_and_assigns_with_ours_too(quantized, features):
    saved, own = registry.load(quantized[0]), TrainedQuantizer.load(quantized[0])
    np.testing.assert_array_equal(registry.assign(saved, features).fused, assign_with_bbqrec(own, features).fused)


def test_a_damaged_tokenizer_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        registry.load(tmp_path)
    (tmp_path / "quantizer.json").write_text('{"tokenizer": "rqvae"')
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        registry.load(tmp_path)
    (tmp_path / "quantizer.json").write_text('{"tokenizer": "rqvae"}')
    with pytest.raises(ArtifactError, match="No readable tokenizer"):
        registry.load(tmp_path)


@pytest.mark.parametrize(
    "fields", [{"tokenizer": "tiger"}, {"rqvae": {"hidden": []}}, {"given": {"modality": "sound"}}, {"letter": {"clusters": 1}}]
)
def test_profile_refuses_what_is_no_tokenizer(fields):
    with pytest.raises(ValidationError):
        QuantizationConfig(**fields)


# Residual k-means


def test_residual_kmeans_is_lloyds_algorithm_on_residuals(catalogue, tmp_path):
    """Against a simple implementation in numpy: every centre is the mean of its residuals, every code the nearest, level after level."""
    data, config = training_data(catalogue, tmp_path, tokenizer="residual_kmeans", kmeans_iterations=200)
    tokenizer = residual_kmeans.fit(data, config, 3, torch.device("cpu")).tokenizer
    blocks = []
    for name in ("text", "image"):
        values, has = data.features[name].numpy().astype(np.float64), data.present[name].numpy()
        seen = values[data.fitted][has[data.fitted]]
        scale = np.sqrt(((seen - seen.mean(0)) ** 2).mean())
        blocks.append(np.where(has[:, None], (values - seen.mean(0)) / scale, 0) / np.sqrt(values.shape[1]))
    residual = np.concatenate(blocks, 1)
    encoded = tokenizer.encode(data.features, data.present, np.arange(data.n_items))
    np.testing.assert_allclose(encoded.starts, residual, atol=1e-5)
    for level, codebook in enumerate(tokenizer.quantizer.codebooks):
        centres = codebook.detach().numpy().astype(np.float64)
        nearest = np.argmin(((residual[:, None] - centres) ** 2).sum(-1), 1)
        np.testing.assert_array_equal(encoded.wished[:, level], nearest)
        for code in np.unique(nearest[data.fitted]):
            members = data.fitted[nearest[data.fitted] == code]
            np.testing.assert_allclose(centres[code], residual[members].mean(0), atol=1e-5)
        residual = residual - centres[nearest]


def test_residual_kmeans_on_principal_components(catalogue, tmp_path):
    data, config = training_data(catalogue, tmp_path, residual_kmeans={"pca_dimensions": 5})
    tokenizer = residual_kmeans.fit(data, config, 3, torch.device("cpu")).tokenizer
    joint = tokenizer.joint(data.features, data.present).numpy()[data.fitted].astype(np.float64)
    _, _, directions = np.linalg.svd(joint - joint.mean(0), full_matrices=False)
    overlap = np.abs(directions[:5] @ tokenizer.projection.numpy())
    np.testing.assert_allclose(overlap, np.eye(5), atol=1e-4)
    many, _ = training_data(catalogue, tmp_path / "b")
    wide = residual_kmeans.fit(many, make_profile(residual_kmeans={"pca_dimensions": 500}).quantization, 3, torch.device("cpu")).tokenizer
    assert wide.projection.shape == (36, 36)


# RQ-VAE, and LETTER as a setting of it


def test_rqvae_learns_and_starts_where_the_profile_says(catalogue, tmp_path):
    data, config = training_data(catalogue, tmp_path, epochs=30, batch_size=32)
    curve = rqvae.fit(data, config, 1, torch.device("cpu")).curve
    losses = [value for _, name, value in curve.rows if name == "train/reconstruction"]
    assert losses[-1] < 0.8 * losses[0]
    _, all_items = training_data(catalogue, tmp_path / "b", epochs=30, batch_size=32, rqvae={**SMALL["rqvae"], "start": "all_items"})
    other = rqvae.fit(data, all_items, 1, torch.device("cpu")).curve
    assert other.rows[0] != curve.rows[0]


def test_letter_without_its_losses_is_rqvae(catalogue, tmp_path):
    off = {"alignment_weight": 0.0, "diversity_weight": 0.0}
    data, config = training_data(catalogue, tmp_path, rqvae={**SMALL["rqvae"], "start": "all_items"}, letter=off, batch_size=200)
    plain = rqvae.fit(data, config, 1, torch.device("cpu")).curve
    without = letter.fit(data, config, 1, torch.device("cpu")).curve
    names = {name for _, name, _ in without.rows}
    assert (
        names == {name for _, name, _ in plain.rows} == {f"train/{name}" for name in ("loss", "reconstruction", "codebook", "commitment")}
    )
    on = letter.fit(data, make_profile(**SMALL).quantization, 1, torch.device("cpu")).curve
    assert {name for _, name, _ in on.rows} - names == {"train/alignment", "train/diversity"}


def test_letters_losses_are_their_equations():
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    codes, partners = torch.tensor([0, 3, 3]), torch.tensor([2, 1, 5])
    expected = 0.0
    for code, partner in zip(codes.tolist(), partners.tolist(), strict=True):
        weights = {other: float(torch.exp(codebook[code] @ codebook[other])) for other in range(6) if other != code}
        expected -= np.log(weights[partner] / sum(weights.values())) / 3
    assert letter.diversity_loss(codebook, codes, codebook[codes], partners).item() == pytest.approx(expected)
    quantized, behaviour = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    scores = np.exp((quantized @ behaviour.T).numpy())
    assert letter.alignment_loss(quantized, behaviour).item() == pytest.approx(-np.log(np.diag(scores) / scores.sum(1)).mean(), rel=1e-5)
    assert letter.alignment_loss(quantized[:1], behaviour[:1]) == 0


@pytest.mark.parametrize(("n", "clusters"), [(4, 10), (8, 10), (16, 3), (64, 10), (257, 10)])
def test_constrained_clusters_keep_their_bounds_and_find_what_is_planted(n, clusters):
    points = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
    labels = letter.constrained_kmeans(points, clusters, torch.Generator().manual_seed(0))
    sizes = np.bincount(labels)
    assert len(sizes) == min(clusters, n // 2) and sizes.min() >= 2 and sizes.max() <= -(-2 * n // len(sizes))
    planted = np.arange(40) % 4
    points = (10 * np.eye(4)[planted] + 0.1 * np.random.default_rng(1).normal(size=(40, 4))).astype(np.float32)
    found = letter.constrained_kmeans(points, 4, torch.Generator().manual_seed(1))
    assert len({(a, b) for a, b in zip(planted, found, strict=True)}) == 4


def test_letter_partners_are_other_codes_of_the_same_cluster(catalogue, tmp_path):
    data, config = training_data(catalogue, tmp_path)
    losses = letter.LetterLosses(data, config, torch.Generator().manual_seed(0), torch.device("cpu"))
    labels = np.array([0, 0, 1, 1, 1])
    codes = torch.arange(5).repeat(20)
    partners = losses._partners(labels, codes)
    assert (labels[partners] == labels[codes]).all() and (partners != codes).all()


def test_plain_codebooks_repair_at_the_cost_of_the_plain_residual():
    levels = (np.zeros((2, 1)), np.array([[0.0], [1.0], [5.0]]))
    starts = np.array([[0.1], [0.4], [0.2]])
    repaired = repair(np.zeros((3, 2), np.int64), starts, np.zeros((3, 0)), PlainCodebooks(levels))
    costs = ((starts - levels[1].T) ** 2).tolist()
    best = min(itertools.permutations(range(3)), key=lambda codes: sum(row[code] for row, code in zip(costs, codes, strict=True)))
    assert repaired.codes[:, 1].tolist() == list(best)


# One RQ-VAE per modality


def test_fused_codes_come_from_the_first_modality_and_else_the_other(catalogue, changed, tmp_path):
    has_text = catalogue.has_text.copy()
    has_text[[0, 1, 2, 10]] = False
    out, statistics = run_tokenizer(changed(has_text=has_text), tmp_path, "rqvae_per_modality")
    saved = registry.load(out)
    ids, vectors = load_semantic_ids(out), load_file(out / "quantized.safetensors")
    same = lambda source, rows: (ids["fused"][0][rows, :-1] == ids[source][0][rows, :-1]).all(1)  # noqa: E731
    assert same("text", has_text).mean() > 0.9
    only_image = ~has_text & catalogue.has_image
    assert statistics["items_coded_by_second_modality"] == only_image.sum() > 0
    assert same("image", only_image).mean() > 0.5
    for row in np.flatnonzero(only_image):
        books = saved.tokenizer.network("image").quantizer.codebooks
        expected = sum(book.detach()[code] for book, code in zip(books, ids["fused"][0][row], strict=True))
        torch.testing.assert_close(vectors["fused"][row], expected)
    image_first, _ = run_tokenizer(catalogue, tmp_path / "b", "rqvae_per_modality", rqvae_per_modality={"first": "image"})
    ids = load_semantic_ids(image_first)
    assert same("image", catalogue.has_image).mean() > 0.9


# Published codes


def test_published_codes_come_through(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given")
    text, image = publish(tmp_path / "ingest", catalogue)
    ids, vectors = load_semantic_ids(out), load_file(out / "quantized.safetensors")
    np.testing.assert_array_equal(ids["fused"][0], text)
    np.testing.assert_array_equal(ids["text"][0], text)
    np.testing.assert_array_equal(ids["image"][0][catalogue.has_image], image[catalogue.has_image])
    assert statistics["items_moved_by_repair"] == 0 and statistics["items_without_given_codes"] == 0
    assert statistics["collision_share"] == statistics["collision_share_before"] == 1.0
    assert statistics["items_sharing_an_id"] == catalogue.n_items and statistics["distinct_ids"] <= catalogue.n_items / 2
    torch.testing.assert_close(vectors["fused"], vectors["text"])
    units = vectors["fused"].numpy()
    assert np.allclose(np.linalg.norm(units, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal((units @ units.T > 0.999), (text[:, None] == text).all(-1))
    shared = (text[:, None, :2] == text[None, :, :2]).all(-1) & (text[:, None, 2] != text[None, :, 2])
    assert (units @ units.T)[shared].mean() > 0.4


def test_image_codes_can_be_the_fused_ones_and_items_without_get_ids_of_their_own(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given", given={"modality": "image"})
    codes = load_semantic_ids(out)["fused"][0]
    lacking = ~catalogue.has_image
    assert statistics["items_without_given_codes"] == lacking.sum() > 0 and statistics["codebook_sizes"] == "6,9,7"
    assert (codes[lacking, 0] == 5).all() and (codes[~lacking, 0] < 5).all()
    assert len(np.unique(codes[lacking], axis=0)) == lacking.sum()


def test_repair_of_published_codes_moves_only_what_collides_and_no_further_than_needed(catalogue, tmp_path):
    out, statistics = run_tokenizer(catalogue, tmp_path, "given", given={"repair": True})
    text, _ = publish(tmp_path / "ingest", catalogue)
    codes = load_semantic_ids(out)["fused"][0]
    kept = (codes == text).all(1)
    assert statistics["items_moved_by_repair"] == (~kept).sum()
    assert kept.sum() == len(np.unique(text, axis=0))  # of every ID one item keeps it: the rest had to go
    prefix = (codes[:, :2] == text[:, :2]).all(1)
    _, inverse, counts = np.unique(text[:, :2], axis=0, return_inverse=True, return_counts=True)
    assert (counts[inverse.reshape(-1)][~prefix] > 7).all()


def test_prefixes_come_in_the_order_of_what_they_share():
    tree = given.PrefixTree(tuple(np.empty((size, 0)) for size in (3, 2, 4, 5)))
    order = np.array(list(tree.nearest_prefixes(np.array([1, 1, 2, 3]) + 1.0)))
    assert len(order) == len(np.unique(order, axis=0)) == 24
    shared = np.cumprod(order == [1, 1, 2], axis=1).sum(1)
    assert shared[0] == 3 and (np.diff(shared) <= 0).all()


def test_published_codes_that_are_not_there_are_named(catalogue, tmp_path):
    with pytest.raises(StageError, match="published text codes, and the source has none") as caught:
        run_tokenizer(catalogue, tmp_path / "a", "given", published=False)
    assert "text_codes" in caught.value.way_out
    with pytest.raises(StageError, match="the source has codes of image") as caught:
        run_tokenizer(catalogue, tmp_path / "b", "given", without=range(catalogue.n_items))
    assert "modality: image" in caught.value.way_out
    with pytest.raises(StageError, match="78 of 120 items have no published text codes, more than the 63 IDs"):
        run_tokenizer(catalogue, tmp_path / "c", "given", without=range(78))


def test_published_codes_need_no_features(catalogue, changed, tmp_path):
    none = np.zeros(catalogue.n_items, dtype=bool)
    out, statistics = run_tokenizer(changed(has_text=none, has_image=none), tmp_path, "given")
    assert statistics["blank_items"] == catalogue.n_items and statistics["null_text_codes"] == 0
    assert load_semantic_ids(out)["text"][1].all()


# Bad or poor input


@pytest.mark.parametrize("name", LEARNED)
def test_constant_features_end_in_sound_ids(name, catalogue, changed, tmp_path):
    ones = {"text": np.ones_like(catalogue.text), "image": np.ones_like(catalogue.image), "has_image": catalogue.has_text}
    out, statistics = run_tokenizer(changed(**ones), tmp_path, name)
    assert statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0
    assert all(tensor.isfinite().all() for tensor in load_file(out / "quantized.safetensors").values())


@pytest.mark.parametrize("name", LEARNED)
def test_items_without_any_modality_and_few_pictures(name, catalogue, changed, tmp_path):
    """Three pictures are fewer than an image codebook has codes."""
    has_text, has_image = catalogue.has_text.copy(), np.zeros_like(catalogue.has_image)
    has_text[[0, 1, -1]] = False
    has_image[[3, 4, 5]] = True
    out, statistics = run_tokenizer(changed(has_text=has_text, has_image=has_image), tmp_path, name)
    assert statistics["blank_items"] == 3 and statistics["distinct_ids"] == catalogue.n_items and statistics["nan_losses"] == 0
    assert statistics["null_image_codes"] == catalogue.n_items - 3
    assert all(tensor.isfinite().all() for tensor in load_file(out / "quantized.safetensors").values())


@pytest.mark.parametrize("name", LEARNED)
def test_one_modality_for_all_and_none_of_the_other(name, catalogue, changed, tmp_path):
    none = np.zeros(catalogue.n_items, dtype=bool)
    out, statistics = run_tokenizer(changed(has_text=none), tmp_path, name)
    assert statistics["distinct_ids"] == catalogue.n_items and "text" not in load_semantic_ids(out)
    assert not load_file(out / "quantized.safetensors")["text"].any()
    with pytest.raises(StageError, match="any features"):
        run_tokenizer(changed(has_text=none, has_image=none), tmp_path / "none", name)


@pytest.mark.parametrize("name", LEARNED)
def test_fewer_items_than_codes_or_ids_is_named(name, catalogue, tmp_path):
    with pytest.raises(StageError, match="level 2 has 128 codes, but only 115 of 120 items"):
        run_tokenizer(catalogue, tmp_path / "a", name, codebook_sizes=[8, 128, 16])
    with pytest.raises(StageError, match="give 64 semantic IDs"):
        run_tokenizer(catalogue, tmp_path / "b", name, codebook_sizes=[4, 4, 4])


def test_letter_without_any_behaviour_trains_without_alignment(catalogue, changed, tmp_path):
    n = catalogue.n_items
    single = {"train": [[item] for item in range(n - 5)], "valid": [0] * (n - 5), "test": [1] * (n - 5)}
    _, statistics = run_tokenizer(changed(**single), tmp_path, "letter")
    assert statistics["final_alignment"] == 0 and statistics["distinct_ids"] == n


def test_identical_listings_share_an_id_if_the_profile_says_so(catalogue, changed, tmp_path):
    text, image, has = catalogue.text.copy(), catalogue.image.copy(), catalogue.has_image.copy()
    text[10], image[10], has[10] = text[0], image[0], has[0]
    out, statistics = run_tokenizer(changed(text=text, image=image, has_image=has), tmp_path, "residual_kmeans", share_identical=True)
    codes = load_semantic_ids(out)["fused"][0]
    np.testing.assert_array_equal(codes[0], codes[10])
    assert statistics["items_sharing_an_id"] == 2 and statistics["distinct_ids"] == catalogue.n_items - 1
