-- deduplicated: one row per user and item. The earliest interaction stays; of several at that time, the one read first.
-- Those rated below $min_rating (or not at all, where one is set) are left out before.
-- From: read_interactions, user_codes, item_codes.
SELECT
    user_code,
    item_code,
    arg_min_null(rating, (timestamp, file, line)) AS rating,  -- null too, if that one was not rated
    min(timestamp) AS timestamp
FROM read_interactions
JOIN user_codes USING (user_id)
JOIN item_codes USING (item_id)
WHERE $min_rating IS NULL OR rating >= CAST($min_rating AS FLOAT)
GROUP BY user_code, item_code
