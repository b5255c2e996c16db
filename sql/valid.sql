-- valid: for users with train items and one in validation: the first of those, and the latest $max_history items of train.
-- From: interactions.
SELECT
    user_idx,
    latest(list(item_idx ORDER BY position) FILTER (WHERE part = 'train'), $max_history) AS history,
    arg_min(item_idx, position) FILTER (WHERE part = 'valid') AS target
FROM interactions
GROUP BY user_idx
HAVING count(*) FILTER (WHERE part = 'train') > 0 AND count(*) FILTER (WHERE part = 'valid') > 0
