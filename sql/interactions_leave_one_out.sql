-- interactions: the k-core with numbers for names, each interaction's place in its user's sequence, and the part it belongs to:
-- a user's last one is test, the one before it validation, the rest train. Of users with fewer than three, all is train.
-- Equal times are ordered by a seeded hash: order of lines or names would make one item the last again and again.
-- From: kcore, user_index, item_index.
SELECT
    user_idx,
    item_idx,
    user_id,
    item_id,
    rating,
    timestamp,
    CAST(row_number() OVER sequence - 1 AS INTEGER) AS position,
    CASE
        WHEN count(*) OVER whole < 3 THEN 'train'
        ELSE CASE count(*) OVER whole - row_number() OVER sequence WHEN 0 THEN 'test' WHEN 1 THEN 'valid' ELSE 'train' END
    END AS part
FROM kcore
JOIN user_index USING (user_code)
JOIN item_index USING (item_code)
WINDOW
    whole AS (PARTITION BY user_idx),
    sequence AS (PARTITION BY user_idx ORDER BY timestamp, seeded_hash($seed, 'tie', user_id, item_id), item_id, rating)
