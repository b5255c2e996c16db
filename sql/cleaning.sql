-- cleaning: on how many items of the metadata each rule of cleaning acted, by field. Each item has one of the rules of the price that are
-- named in the macro price_rule.
-- From: cleaned_items.
SELECT field, rule, count(*) AS items
FROM (
    SELECT 'title' AS field, unnest(title_rules) AS rule FROM cleaned_items
    UNION ALL
    SELECT 'brand', unnest(brand_rules) FROM cleaned_items
    UNION ALL
    SELECT 'categories', unnest(categories_rules) FROM cleaned_items
    UNION ALL
    SELECT 'description', unnest(description_rules) FROM cleaned_items
    UNION ALL
    SELECT 'price', unnest(price_rules) FROM cleaned_items
)
GROUP BY field, rule
