-- test: for users with an item in test and some before: the first of those in test, and the latest $max_history items before it.
-- From: interactions.
SELECT
    user_idx,
    latest(list(item_idx ORDER BY position) FILTER (WHERE part <> 'test'), $max_history) AS history,
    arg_min(item_idx, position) FILTER (WHERE part = 'test') AS target
FROM interactions
GROUP BY user_idx
HAVING count(*) FILTER (WHERE part <> 'test') > 0 AND count(*) FILTER (WHERE part = 'test') > 0
