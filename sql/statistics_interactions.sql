-- statistics_interactions: one row of numbers on interactions and splits.
-- From: interactions, valid, test, items.
WITH users AS (
    SELECT user_idx, any_value(length) AS length
    FROM interactions
    GROUP BY user_idx
),
targets AS (
    SELECT
        max(timestamp) FILTER (WHERE position = length - 1) AS last_time,
        max(timestamp) FILTER (WHERE position = length - 2) AS time_before
    FROM interactions
    WHERE length >= 3
    GROUP BY user_idx
)
SELECT
    (SELECT count(*) FROM interactions) AS interactions,
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM items) AS items,
    (SELECT count(*) FROM interactions) / ((SELECT count(*) FROM users) * (SELECT count(*) FROM items)) AS density,
    (SELECT min(length) FROM users) AS sequence_min,
    (SELECT quantile_disc(length, 0.5) FROM users) AS sequence_median,
    (SELECT quantile_disc(length, 0.9) FROM users) AS sequence_p90,
    (SELECT max(length) FROM users) AS sequence_max,
    (SELECT min(timestamp) FROM interactions) AS first_timestamp,
    (SELECT max(timestamp) FROM interactions) AS last_timestamp,
    (SELECT count(*) FROM users) AS train_rows,
    (SELECT count(*) FROM interactions WHERE position < train_length) AS train_interactions,
    (SELECT count(*) FROM valid) AS valid_rows,
    (SELECT count(*) FROM test) AS test_rows,
    (SELECT count(*) FROM users WHERE length < 3) AS users_train_only,
    (SELECT count(*) FROM valid JOIN items ON target = item_idx WHERE train_count = 0) AS cold_valid,
    (SELECT count(*) FROM test JOIN items ON target = item_idx WHERE train_count = 0) AS cold_test,
    (SELECT coalesce(avg(CAST(last_time = time_before AS INTEGER)), 0.0) FROM targets) AS tied_target_share,
    (SELECT count(*) FROM interactions WHERE user_id IS NULL OR user_idx IS NULL) AS null_user_id,
    (SELECT count(*) FROM interactions WHERE item_id IS NULL OR item_idx IS NULL) AS null_item_id,
    (SELECT count(*) FROM interactions WHERE rating IS NULL) AS null_rating,
    (SELECT count(*) FROM interactions WHERE timestamp IS NULL) AS null_timestamp,
    (SELECT count(*) FROM test WHERE target IS NULL OR history IS NULL) AS null_test_target,
    (SELECT count(*) FROM valid WHERE target IS NULL OR history IS NULL) AS null_valid_target
