-- statistics_interactions: one row of numbers on interactions and splits.
-- $deduplicated says whether a user has an item but once, so that a target may not be in train at all.
-- From: interactions, train, valid, test, items.
WITH users AS (
    SELECT user_idx, count(*) AS length, count(*) FILTER (WHERE part = 'test') AS in_test
    FROM interactions
    GROUP BY user_idx
),
-- When the targets of test happened, and how many interactions of the user have that very time: chance chose among them.
moments AS (
    SELECT user_idx, timestamp, count(*) AS together
    FROM interactions
    GROUP BY user_idx, timestamp
),
targets AS (
    SELECT user_idx, arg_min(timestamp, position) AS timestamp
    FROM interactions
    SEMI JOIN test USING (user_idx)
    WHERE part = 'test'
    GROUP BY user_idx
),
-- Where each user's validation or test begins: nothing of train may lie behind it.
borders AS (
    SELECT user_idx, min(position) AS border
    FROM interactions
    WHERE part <> 'train'
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
    (SELECT coalesce((max(timestamp) - min(timestamp)) / 86400, 0) FROM interactions) AS days,
    -- By the parts, and by the very tables that training reads: more in train than is train's; a target in its user's own train.
    (
        (SELECT count(*) FROM interactions JOIN borders USING (user_idx) WHERE part = 'train' AND position >= border)
        + greatest(
            0, (SELECT coalesce(sum(len(history)), 0) FROM train) - (SELECT count(*) FROM interactions WHERE part = 'train')
        )
        + (
            SELECT count(*)
            FROM (SELECT user_idx, target FROM valid UNION ALL SELECT user_idx, target FROM test) AS targets
            JOIN train USING (user_idx)
            WHERE $deduplicated AND list_contains(train.history, targets.target)
        )
    ) AS misplaced_interactions,
    (SELECT count(*) FROM train) AS train_rows,
    (SELECT count(*) FROM interactions WHERE part = 'train') AS train_interactions,
    (SELECT count(*) FROM valid) AS valid_rows,
    (SELECT count(*) FROM test) AS test_rows,
    (SELECT count(*) FROM users WHERE in_test = 0) AS users_train_only,
    (SELECT count(*) FROM users WHERE in_test > 0) - (SELECT count(*) FROM test) AS users_without_history,
    (SELECT count(*) FROM valid JOIN items ON target = item_idx WHERE train_count = 0) AS cold_valid,
    (SELECT count(*) FROM test JOIN items ON target = item_idx WHERE train_count = 0) AS cold_test,
    (SELECT coalesce(avg(CAST(together > 1 AS INTEGER)), 0.0) FROM targets JOIN moments USING (user_idx, timestamp)) AS tied_target_share,
    (SELECT count(*) FROM interactions WHERE user_id IS NULL OR user_idx IS NULL) AS null_user_id,
    (SELECT count(*) FROM interactions WHERE item_id IS NULL OR item_idx IS NULL) AS null_item_id,
    (SELECT count(*) FROM interactions WHERE rating IS NULL) AS null_rating,
    (SELECT count(*) FROM interactions WHERE timestamp IS NULL) AS null_timestamp,
    (SELECT count(*) FROM test WHERE target IS NULL OR history IS NULL) AS null_test_target,
    (SELECT count(*) FROM valid WHERE target IS NULL OR history IS NULL) AS null_valid_target
