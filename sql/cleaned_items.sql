-- cleaned_items: one row per item of the metadata, its fields cleaned, each beside the names of the rules that acted on it; of several
-- rows for one item the first stays.
-- From: read_items, files.
WITH first_rows AS (
    SELECT
        *,
        file IN (SELECT number FROM files WHERE starts_with(format, 'Amazon 2018 metadata')) AS is_of_2018
    FROM read_items
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY file, line) = 1
),
-- Each text as {text, rules}, cleaned of what pages left in any field.
texts AS (
    SELECT
        * EXCLUDE (title, brand, categories, description, price),
        clean_text(title) AS title,
        clean_text(brand) AS brand,
        list_transform(categories, lambda step: clean_text(step)) AS steps,
        clean_text(description) AS description,
        clean_text(price) AS price
    FROM first_rows
),
-- Where the path ends, on Amazon's 2018 pages: after the first step that is none, nothing is. Other shops' paths may hold any text.
parts AS (
    SELECT
        *,
        brand_without_prefix(brand.text) AS unprefixed,
        brand_without_suffix(brand_without_prefix(brand.text)) AS bare,
        CASE WHEN is_of_2018 THEN list_position(list_transform(steps, lambda step: is_no_category(step)), true) END AS path_end,
        CASE WHEN is_debris(price) THEN 'debris' ELSE price_rule(price.text) END AS price_rule
    FROM texts
),
paths AS (
    SELECT
        *,
        list_transform(
            CASE WHEN path_end IS NULL THEN steps ELSE steps[:path_end - 1] END,
            lambda step: step.text
        ) AS path
    FROM parts
),
categories AS (
    SELECT *, first_ones(path) AS categories
    FROM paths
)
SELECT
    file,
    line,
    item_id,
    title.text AS title,
    title.rules AS title_rules,
    CASE WHEN bare <> '' AND NOT is_no_brand(bare) THEN bare END AS brand,
    list_concat(
        brand.rules,
        CASE WHEN unprefixed <> brand.text THEN ['prefix'] END,
        CASE WHEN bare <> unprefixed THEN ['suffix'] END,
        CASE WHEN is_no_brand(bare) THEN ['placeholder'] END
    ) AS brand_rules,
    categories,
    list_concat(
        list_distinct(flatten(list_transform(steps, lambda step: step.rules))),
        CASE
            WHEN path_end IS NOT NULL OR list_contains(list_transform(steps, lambda step: is_debris(step)), true) THEN ['debris']
        END,
        CASE WHEN len(categories) < len(list_filter(path, lambda step: step IS NOT NULL)) THEN ['repeats'] END
    ) AS categories_rules,
    description.text AS description,
    description.rules AS description_rules,
    CASE WHEN price_rule = 'number' THEN price_number(price.text) END AS price,
    list_concat(price.rules, [price_rule]) AS price_rules,
    first_ones(
        list_filter(
            list_transform(image_urls, lambda url: regexp_replace(url, '^\s+|\s+$', '', 'g')),
            lambda url: regexp_matches(url, '(?i)^https?://\S+$')
        )
    ) AS image_urls,
    image_path
FROM categories
