-- deduplicated: one row per user and item. The earliest interaction stays; of several at that time, the one read first. Only what is
-- repeated is compared, which is mostly little.
-- From: coded_interactions, repeated.
SELECT user_code, item_code, rating, timestamp
FROM coded_interactions
ANTI JOIN repeated USING (user_code, item_code)
UNION ALL
SELECT
    user_code,
    item_code,
    arg_min_null(rating, (timestamp, file, line)) AS rating,  -- null too, if that one was not rated
    min(timestamp) AS timestamp
FROM coded_interactions
SEMI JOIN repeated USING (user_code, item_code)
GROUP BY user_code, item_code
