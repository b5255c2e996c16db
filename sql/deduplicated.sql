-- deduplicated: one row per user and item. The earliest review stays; of several at that time, the first line.
-- From: raw_interactions.
SELECT
    user_id,
    item_id,
    arg_min(rating, (timestamp, line)) AS rating,
    min(timestamp) AS timestamp
FROM raw_interactions
GROUP BY user_id, item_id
