-- deduplicated: every interaction, repeated ones too, for data that is to be read as it was published.
-- Those rated below $min_rating (or not at all, where one is set) are left out.
-- From: read_interactions.
SELECT user_code, item_code, rating, timestamp
FROM read_interactions
JOIN user_codes USING (user_id)
JOIN item_codes USING (item_id)
WHERE $min_rating IS NULL OR rating >= CAST($min_rating AS FLOAT)
