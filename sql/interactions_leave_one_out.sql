-- interactions: the k-core, each interaction's place in its user's sequence, and the part it belongs to: a user's last one is test, the one
-- before it validation, the rest train. Of users with fewer than three, all is train.
-- From: ordered, user_index, item_index.
SELECT
    user_idx,
    item_idx,
    user_id,
    item_id,
    rating,
    timestamp,
    CAST(place - first AS INTEGER) AS position,
    CASE
        WHEN length < 3 THEN 'train'
        ELSE CASE first + length - place WHEN 1 THEN 'test' WHEN 2 THEN 'valid' ELSE 'train' END
    END AS part
FROM ordered
JOIN (SELECT user_idx, min(place) AS first, count(*) AS length FROM ordered GROUP BY user_idx) AS users USING (user_idx)
JOIN user_index USING (user_idx)
JOIN item_index USING (item_idx)
