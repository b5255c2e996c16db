-- statistics_cleaning: one row of numbers on what cleaning did, over all metadata; the table cleaning has the rest.
-- From: cleaning.
SELECT
    CAST(coalesce(sum(items) FILTER (WHERE field = 'title' AND rule = 'tags'), 0) AS BIGINT) AS cleaned_title_tags,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'title' AND rule = 'entities'), 0) AS BIGINT) AS cleaned_title_entities,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'title' AND rule = 'whitespace'), 0) AS BIGINT) AS cleaned_title_whitespace,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'title' AND rule = 'script'), 0) AS BIGINT) AS cleaned_title_script,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'brand' AND rule = 'prefix'), 0) AS BIGINT) AS cleaned_brand_prefix,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'brand' AND rule = 'suffix'), 0) AS BIGINT) AS cleaned_brand_suffix,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'brand' AND rule = 'placeholder'), 0) AS BIGINT) AS cleaned_brand_placeholder,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'categories' AND rule = 'debris'), 0) AS BIGINT) AS cleaned_categories_debris,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'categories' AND rule = 'repeats'), 0) AS BIGINT) AS cleaned_categories_repeats,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'description' AND rule = 'tags'), 0) AS BIGINT) AS cleaned_description_tags,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'description' AND rule = 'blocks'), 0) AS BIGINT) AS cleaned_description_blocks,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'description' AND rule = 'entities'), 0) AS BIGINT) AS cleaned_description_entities,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'description' AND rule = 'control'), 0) AS BIGINT) AS cleaned_description_control,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'description' AND rule = 'script'), 0) AS BIGINT) AS cleaned_description_script,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'price' AND rule = 'number'), 0) AS BIGINT) AS price_number,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'price' AND rule = 'range'), 0) AS BIGINT) AS price_range,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'price' AND rule = 'currency'), 0) AS BIGINT) AS price_currency,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'price' AND rule = 'debris'), 0) AS BIGINT) AS price_debris,
    CAST(coalesce(sum(items) FILTER (WHERE field = 'price' AND rule = 'empty'), 0) AS BIGINT) AS price_empty
FROM cleaning
