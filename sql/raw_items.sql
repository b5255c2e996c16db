-- raw_items: one row per item of the metadata, its texts cleaned of HTML and scripts; of several rows for one item the first stays.
-- From: parsed_metadata.
WITH first_rows AS (
    SELECT *
    FROM parsed_metadata
    WHERE reason IS NULL
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY line) = 1
)
SELECT
    item_id,
    clean_text(title) AS title,
    clean_text(brand) AS brand,
    clean_list(categories) AS categories,
    clean_text(description) AS description,
    -- "$1,234.56" and 12.34 are prices; a range and debris of the page are not.
    CASE
        WHEN regexp_full_match(trim(price), '\$?\s*(\d+|\d{1,3}(,\d{3})+)(\.\d+)?')
            THEN TRY_CAST(regexp_replace(price, '[$,\s]', '', 'g') AS DOUBLE)
    END AS price,
    nullif(list_filter(image_urls, lambda url: regexp_matches(url, '^https?://')), []) AS image_urls,
    $file AS file,
    line
FROM first_rows
