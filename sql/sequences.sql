-- sequences: each user's items in time order, and how many of them belong to each part: train comes first, then validation, then test.
-- What is held out of train is in no sequence.
-- From: interactions.
SELECT
    user_idx,
    list(item_idx ORDER BY position) AS items,
    count(*) FILTER (WHERE part = 'train') AS in_train,
    count(*) FILTER (WHERE part = 'valid') AS in_valid,
    count(*) FILTER (WHERE part = 'test') AS in_test
FROM interactions
WHERE part <> 'held_out'
GROUP BY user_idx
