-- interactions: the k-core with numbers for names, each interaction's place in its user's sequence, and the part it belongs to:
-- everything from one moment on is validation, from a later one on test, for all users alike.
-- Equal times are ordered by a seeded hash, and lie in the same part always.
-- From: kcore, user_index, item_index.
SELECT
    user_idx,
    item_idx,
    user_id,
    item_id,
    rating,
    timestamp,
    CAST(row_number() OVER sequence - 1 AS INTEGER) AS position,
    CASE WHEN timestamp >= $test_from THEN 'test' WHEN timestamp >= $valid_from THEN 'valid' ELSE 'train' END AS part
FROM kcore
JOIN user_index USING (user_code)
JOIN item_index USING (item_code)
WINDOW sequence AS (PARTITION BY user_idx ORDER BY timestamp, seeded_hash($seed, 'tie', user_id, item_id), item_id, rating)
