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
        CASE
            WHEN json_type(fields[1]) IN ('VARCHAR', 'BIGINT', 'UBIGINT') THEN json_extract_string(fields[1], '$')
            -- A column of whole numbers with a gap is one of floating-point numbers in many tools.
            WHEN abs(json_number(fields[1])) < 9007199254740992 AND json_number(fields[1]) = floor(json_number(fields[1]))
                THEN CAST(CAST(json_number(fields[1]) AS BIGINT) AS VARCHAR)
        END AS id,
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
            WHEN coalesce(json_type(fields[1]), 'NULL') = 'NULL' THEN 'no ' || $item
            WHEN id IS NULL THEN $item || ' is neither text nor a whole number'
            WHEN trim(id) = '' THEN $item || ' is empty'
            WHEN regexp_matches(id, '[\x00-\x1F\x7F]') THEN $item || ' holds control characters'
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
