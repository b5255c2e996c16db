-- interactions: the k-core with numbers for names and each interaction's place in its user's sequence.
-- Equal times are ordered by a seeded hash: order of lines or names would make one item the last again and again.
-- `length` is the user's number of interactions, `train_length` how many of them, from the first, are train: all but two, or all where
-- there are fewer than three.
-- From: kcore, user_index, item_index.
SELECT
    user_idx,
    item_idx,
    user_id,
    item_id,
    rating,
    timestamp,
    CAST(row_number() OVER sequence - 1 AS INTEGER) AS position,
    CAST(count(*) OVER whole AS INTEGER) AS length,
    CAST(if(count(*) OVER whole < 3, count(*) OVER whole, count(*) OVER whole - 2) AS INTEGER) AS train_length
FROM kcore
JOIN user_index USING (user_id)
JOIN item_index USING (item_id)
WINDOW
    whole AS (PARTITION BY user_idx),
    sequence AS (PARTITION BY user_idx ORDER BY timestamp, seeded_hash($seed, 'tie', user_id, item_id), item_id)
