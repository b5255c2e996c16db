-- raw_items: one row per item of the metadata, cleaned.
-- From: cleaned_items, files.
SELECT
    item_id,
    title,
    brand,
    categories,
    description,
    price,
    image_urls,
    image_path,
    files.file,
    line
FROM cleaned_items
JOIN files ON files.number = cleaned_items.file
