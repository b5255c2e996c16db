-- train: each user's items but the last two, in time order.
-- From: interactions.
SELECT user_idx, list(item_idx ORDER BY position) AS history
FROM interactions
WHERE position < train_length
GROUP BY user_idx
