"""The baselines compute what their papers say: residual k-means, RQ-VAE, LETTER as a setting of it, one RQ-VAE per modality."""

import itertools

import numpy as np
import pytest
import torch
from artificial_catalogue import make_profile
from safetensors.torch import load_file
from tokenizer_runs import SMALL, run_tokenizer, training_data

from bbqrec_core.dataset import load_semantic_ids
from bbqrec_core.quantization.collisions import repair
from bbqrec_core.quantization.tokenizers import letter, registry, residual_kmeans, rqvae
from bbqrec_core.quantization.tokenizers.interface import PlainCodebooks


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
