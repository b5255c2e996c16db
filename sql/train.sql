-- train: each user's train items in time order, the latest $max_history of them where that is set.
-- From: sequences.
SELECT user_idx, latest(items[:in_train], $max_history) AS history
FROM sequences
WHERE in_train > 0
