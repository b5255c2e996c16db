-- interactions: the k-core, each interaction's place in its user's sequence, and the part it belongs to: everything from one moment on is
-- validation, from a later one on test, for all users alike. Equal times lie in the same part always.
-- From: ordered, user_index, item_index.
SELECT
    user_idx,
    item_idx,
    user_id,
    item_id,
    rating,
    timestamp,
    CAST(place - first AS INTEGER) AS position,
    CASE WHEN timestamp >= $test_from THEN 'test' WHEN timestamp >= $valid_from THEN 'valid' ELSE 'train' END AS part
FROM ordered
JOIN (SELECT user_idx, min(place) AS first FROM ordered GROUP BY user_idx) AS users USING (user_idx)
JOIN user_index USING (user_idx)
JOIN item_index USING (item_idx)
