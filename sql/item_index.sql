-- item_index: consecutive numbers for items, in an order that only the seed decides.
-- From: kcore, item_codes.
SELECT
    item_code,
    item_id,
    CAST(row_number() OVER (ORDER BY seeded_hash($seed, 'item', item_id, ''), item_id) - 1 AS INTEGER) AS item_idx
FROM item_codes
SEMI JOIN kcore USING (item_code)
