"""Features of modalities that are known by published codes alone."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bbqrec_core import schema
from bbqrec_core.embedding.codes import DIMENSIONS, code_features, given_modalities

CODES = [[1, 2, 3], [1, 2, 4], [1, 5, 3], [9, 2, 3], [1, 2, 3], None]


@pytest.fixture
def ingest(tmp_path):
    rows = [{"item_idx": index, "text": codes, "image": None} for index, codes in enumerate(CODES)]
    pq.write_table(pa.Table.from_pylist(rows, schema.GIVEN_CODES), tmp_path / "given_codes.parquet")
    return tmp_path


def test_only_what_some_item_has_is_given(ingest, tmp_path_factory):
    assert given_modalities(ingest) == ["text"]
    assert given_modalities(tmp_path_factory.mktemp("none")) == []


def test_items_are_as_similar_as_their_shared_prefix_is_long(ingest):
    shard = code_features(ingest, "text")
    assert shard.vectors.shape == (len(CODES), DIMENSIONS) and shard.vectors.dtype == np.float16
    assert shard.present.tolist() == [True] * 5 + [False] and not shard.vectors[5].any()
    vectors = shard.vectors.astype(np.float64)
    assert np.allclose(np.linalg.norm(vectors[:5], axis=1), 1, atol=2e-3)
    same, two, one, none = vectors[0] @ vectors[4], vectors[0] @ vectors[1], vectors[0] @ vectors[2], vectors[0] @ vectors[3]
    assert same == pytest.approx(1, abs=2e-3) and same > two + 0.15 > one + 0.3 and one > none + 0.15  # expected 1, 2/3, 1/3, 0
    assert abs(none) < 0.3  # the same codes below another first one are other nodes


def test_vectors_depend_on_nothing_but_the_codes(ingest):
    assert (code_features(ingest, "text").vectors == code_features(ingest, "text").vectors).all()
    reordered = pq.read_table(ingest / "given_codes.parquet").take(pa.array([3, 0, 5, 1, 2, 4]))
    before = code_features(ingest, "text").vectors
    pq.write_table(reordered, ingest / "given_codes.parquet")
    assert (code_features(ingest, "text").vectors == before[[3, 0, 5, 1, 2, 4]]).all()
