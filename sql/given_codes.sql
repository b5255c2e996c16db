-- given_codes: published semantic IDs, one row per item of the catalogue, null where an item has none.
-- From: item_index, read_codes.
SELECT item_idx, text, image
FROM item_index
LEFT JOIN read_codes USING (item_id)
