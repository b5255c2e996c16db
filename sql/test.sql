-- test: for users with at least three interactions, the last one, and all that came before it.
-- From: interactions.
SELECT
    user_idx,
    list(item_idx ORDER BY position) FILTER (WHERE position < length - 1) AS history,
    any_value(item_idx) FILTER (WHERE position = length - 1) AS target
FROM interactions
WHERE length >= 3
GROUP BY user_idx
