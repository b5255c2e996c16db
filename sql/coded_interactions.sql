-- coded_interactions: interactions with numbers for names, less those rated below $min_rating (or not at all, where one is set).
-- From: read_interactions, user_codes, item_codes.
SELECT user_code, item_code, rating, timestamp, file, line
FROM read_interactions
JOIN user_codes USING (user_id)
JOIN item_codes USING (item_id)
WHERE $min_rating IS NULL OR rating >= CAST($min_rating AS FLOAT)
