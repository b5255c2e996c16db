-- raw_interactions: every usable review, as read.
-- From: parsed_reviews.
SELECT user_id, item_id, rating, timestamp, $file AS file, line
FROM parsed_reviews
WHERE reason IS NULL
