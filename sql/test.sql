-- test: for users with an item in test and some before: the first of those in test, and the latest $max_history items before it.
-- From: sequences.
SELECT user_idx, latest(items[:in_train + in_valid], $max_history) AS history, items[in_train + in_valid + 1] AS target
FROM sequences
WHERE in_train + in_valid > 0 AND in_test > 0
