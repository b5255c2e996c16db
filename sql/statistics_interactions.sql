-- statistics_interactions: one row of numbers on interactions and splits.
-- $deduplicated says whether a user has an item but once, so that a target may not be in train at all.
-- From: interactions, ties, user_index, train, valid, test, items.
WITH totals AS MATERIALIZED (
    SELECT
        count(*) AS interactions,
        count(*) FILTER (WHERE part = 'train') AS in_train,
        count(*) FILTER (WHERE part = 'held_out') AS held_out,
        min(timestamp) AS first_timestamp,
        max(timestamp) AS last_timestamp,
        count(*) FILTER (WHERE user_id IS NULL OR user_idx IS NULL) AS null_user_id,
        count(*) FILTER (WHERE item_id IS NULL OR item_idx IS NULL) AS null_item_id,
        count(*) FILTER (WHERE rating IS NULL) AS null_rating,
        count(*) FILTER (WHERE timestamp IS NULL) AS null_timestamp
    FROM interactions
),
users AS MATERIALIZED (
    SELECT
        user_idx,
        count(*) AS length,
        count(*) FILTER (WHERE part = 'test') AS in_test,
        -- Where its validation or test begins: nothing of train may lie behind it.
        min(position) FILTER (WHERE part IN ('valid', 'test')) AS border,
        max(position) FILTER (WHERE part = 'train') AS last_of_train,
        arg_min(timestamp, position) FILTER (WHERE part = 'test') AS target_timestamp
    FROM interactions
    GROUP BY user_idx
),
-- When the targets of test happened, and whether the user has other interactions of that very time: chance chose among them.
targets AS (
    SELECT coalesce(tied, false) AS tied
    FROM users
    SEMI JOIN test USING (user_idx)
    JOIN user_index USING (user_idx)
    LEFT JOIN ties ON ties.user_code = user_index.user_code AND ties.timestamp = target_timestamp
)
SELECT
    interactions,
    (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM items) AS items,
    interactions / ((SELECT count(*) FROM users) * (SELECT count(*) FROM items)) AS density,
    (SELECT min(length) FROM users) AS sequence_min,
    (SELECT quantile_disc(length, 0.5) FROM users) AS sequence_median,
    (SELECT quantile_disc(length, 0.9) FROM users) AS sequence_p90,
    (SELECT max(length) FROM users) AS sequence_max,
    first_timestamp,
    last_timestamp,
    coalesce((last_timestamp - first_timestamp) / 86400, 0) AS days,
    CAST(coalesce(last_timestamp < 631152000, false) AS INTEGER) AS ends_before_1990,  -- before any shop
    -- By the parts, and by the very tables that training reads: more in train than is train's; a target in its user's own train.
    (
        (
            SELECT count(*)
            FROM interactions
            JOIN users USING (user_idx)
            WHERE last_of_train >= border AND part = 'train' AND position >= border
        )
        + greatest(0, (SELECT coalesce(sum(len(history)), 0) FROM train) - in_train)
        + (
            SELECT count(*)
            FROM (SELECT user_idx, target FROM valid UNION ALL SELECT user_idx, target FROM test) AS held_out
            JOIN train USING (user_idx)
            WHERE $deduplicated AND list_contains(train.history, held_out.target)
        )
    ) AS misplaced_interactions,
    (SELECT count(*) FROM train) AS train_rows,
    in_train AS train_interactions,
    held_out AS held_out_interactions,
    (SELECT count(*) FROM valid) AS valid_rows,
    (SELECT count(*) FROM test) AS test_rows,
    (SELECT count(*) FROM users WHERE in_test = 0) AS users_train_only,
    (SELECT count(*) FROM users WHERE in_test > 0) - (SELECT count(*) FROM test) AS users_without_history,
    (SELECT count(*) FROM valid JOIN items ON target = item_idx WHERE train_count = 0) AS cold_valid,
    (SELECT count(*) FROM test JOIN items ON target = item_idx WHERE train_count = 0) AS cold_test,
    (SELECT coalesce(avg(CAST(tied AS INTEGER)), 0.0) FROM targets) AS tied_target_share,
    null_user_id,
    null_item_id,
    null_rating,
    null_timestamp,
    (SELECT count(*) FROM test WHERE target IS NULL OR history IS NULL) AS null_test_target,
    (SELECT count(*) FROM valid WHERE target IS NULL OR history IS NULL) AS null_valid_target
FROM totals
