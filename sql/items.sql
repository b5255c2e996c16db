-- items: the catalogue. Every item of the k-core is in it, with what the metadata and the pictures know of it.
-- From: item_index, raw_items, item_images, interactions.
SELECT
    item_idx,
    item_id,
    title,
    brand,
    categories,
    description,
    price,
    image_file,
    image_sha256,
    CAST(coalesce(train_count, 0) AS INTEGER) AS train_count
FROM item_index
LEFT JOIN raw_items USING (item_id)
LEFT JOIN item_images USING (item_id)
LEFT JOIN (
    SELECT item_idx, count(*) AS train_count
    FROM interactions
    WHERE part = 'train'
    GROUP BY item_idx
) AS train_counts USING (item_idx)
