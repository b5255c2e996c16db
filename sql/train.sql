-- train: each user's train items in time order, the latest $max_history of them where that is set.
-- From: interactions.
SELECT user_idx, latest(list(item_idx ORDER BY position), $max_history) AS history
FROM interactions
WHERE part = 'train'
GROUP BY user_idx
