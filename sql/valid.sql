-- valid: for users with train items and one in validation: the first of those, and the latest $max_history items of train.
-- From: sequences.
SELECT user_idx, latest(items[:in_train], $max_history) AS history, items[in_train + 1] AS target
FROM sequences
WHERE in_train > 0 AND in_valid > 0
