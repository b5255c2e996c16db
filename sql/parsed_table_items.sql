-- parsed: one row per item of a shop's own table; `reason` says why one cannot be used.
-- From: spool (line, text), a block of rows as JSON.
WITH read AS (
    SELECT
        line,
        is_object(text) AS is_object,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(text, CAST($paths AS VARCHAR[]))) AS fields
    FROM spool
),
cells AS (
    SELECT
        line,
        is_object,
        fields,
        table_identifier(fields[1]) AS id,
        -- What is one text: also a number, or a list of texts run together.
        list_transform(
            fields,
            lambda field: CASE
                WHEN json_type(field) IN ('VARCHAR', 'BIGINT', 'UBIGINT') THEN json_extract_string(field, '$')
                WHEN json_type(field) = 'DOUBLE' AND isfinite(json_number(field)) THEN json_extract_string(field, '$')
                WHEN json_type(field) = 'ARRAY' THEN array_to_string(json_texts(field), ' ')
            END
        ) AS texts
    FROM read
),
judged AS (
    SELECT
        *,
        CASE
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE table_identifier_problem(fields[1], id, $item)
        END AS reason,
        -- CSV can hold a list only as text. Any other text is one category, whatever separates its parts.
        CASE
            WHEN json_type(fields[4]) = 'ARRAY' THEN fields[4]
            WHEN starts_with(ltrim(texts[4]), '[') AND json_type(TRY(json_extract(texts[4], '$'))) = 'ARRAY'
                THEN json_extract(texts[4], '$')
        END AS category_list,
        trim(texts[7]) AS image
    FROM cells
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN id END AS item_id,
    texts[2] AS title,
    texts[3] AS brand,
    CASE
        WHEN json_type(category_list, '$[0]') = 'ARRAY' THEN json_extract_string(category_list, '$[*][*]')
        WHEN category_list IS NOT NULL THEN json_texts(category_list)
        WHEN texts[4] <> '' THEN [texts[4]]
    END AS categories,
    texts[5] AS description,
    texts[6] AS price,
    CASE
        WHEN json_type(fields[7]) = 'ARRAY' THEN json_texts(fields[7])
        WHEN regexp_matches(image, '(?i)^https?://') THEN [image]
    END AS image_urls,
    CASE
        WHEN json_type(fields[7]) = 'VARCHAR' AND image <> '' AND NOT regexp_matches(image, '(?i)^https?://')
            THEN regexp_replace(image, '^(\./)+', '')
    END AS image_path
FROM judged
ORDER BY line
