-- raw_interactions: every usable interaction, as read, in the order of reading.
-- From: read_interactions, files.
SELECT user_id, item_id, rating, timestamp, files.file, line, files.number
FROM read_interactions
JOIN files ON files.number = read_interactions.file
