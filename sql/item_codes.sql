-- item_codes: a number for each item, by which joins and counts are several times quicker than by name. In no order that matters.
-- From: read_interactions.
SELECT item_id, CAST(row_number() OVER () AS INTEGER) AS item_code
FROM (SELECT DISTINCT item_id FROM read_interactions)
