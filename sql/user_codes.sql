-- user_codes: a number for each user, by which joins and counts are several times quicker than by name. In no order that matters.
-- From: read_interactions.
SELECT user_id, CAST(row_number() OVER () AS INTEGER) AS user_code
FROM (SELECT DISTINCT user_id FROM read_interactions)
