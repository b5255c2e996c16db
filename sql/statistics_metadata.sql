-- statistics_metadata: one row of numbers on what cleaning could not save, over all metadata.
-- From: read_items, raw_items, files.
WITH before_and_after AS (
    SELECT read_items.title AS title_before, raw_items.title, read_items.price AS price_before, raw_items.price
    FROM raw_items
    JOIN files USING (file)
    JOIN read_items ON read_items.file = files.number AND read_items.line = raw_items.line
)
SELECT
    (SELECT count(*) FROM raw_items) AS metadata_items,
    (SELECT count(*) FROM read_items) - (SELECT count(*) FROM raw_items) AS metadata_duplicates,
    (SELECT count(*) FROM before_and_after WHERE title_before <> '' AND title IS NULL) AS titles_unusable,
    (SELECT count(*) FROM before_and_after WHERE price_before <> '' AND price IS NULL) AS prices_unusable
