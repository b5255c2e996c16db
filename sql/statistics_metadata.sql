-- statistics_metadata: one row of numbers on what cleaning could not save, over the whole metadata file.
-- From: parsed_metadata, raw_items.
SELECT
    (SELECT count(*) FROM raw_items) AS metadata_items,
    (SELECT count(*) FROM parsed_metadata WHERE reason IS NULL) - (SELECT count(*) FROM raw_items) AS metadata_duplicates,
    (
        SELECT count(*)
        FROM raw_items
        JOIN parsed_metadata USING (line)
        WHERE parsed_metadata.title <> '' AND raw_items.title IS NULL
    ) AS titles_unusable,
    (
        SELECT count(*)
        FROM raw_items
        JOIN parsed_metadata USING (line)
        WHERE parsed_metadata.price <> '' AND raw_items.price IS NULL
    ) AS prices_unusable
