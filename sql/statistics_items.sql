-- statistics_items: one row of numbers on the catalogue.
-- From: items, raw_items.
SELECT
    count(title) AS items_with_title,
    count(*) - count(raw_items.item_id) AS items_without_metadata,
    count(title) / count(*) AS title_share,
    count(coalesce(title, brand, categories[1], description)) / count(*) AS text_share,
    count(image_file) AS items_with_image,
    count(image_file) / count(*) AS image_share,
    count(price) / count(*) AS price_share,
    count(*) FILTER (WHERE items.item_id IS NULL) AS null_catalogue_id
FROM items
LEFT JOIN (SELECT item_id FROM raw_items) AS raw_items USING (item_id)
