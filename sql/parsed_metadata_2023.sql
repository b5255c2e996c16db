-- parsed: one row per line of a metadata file in the Amazon 2023 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines.
WITH read AS (
    SELECT
        line,
        is_object(text) AS is_object,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(
            text, ['$.parent_asin', '$.title', '$.store', '$.categories', '$.description', '$.price', '$.images', '$.main_category']
        )) AS fields
    FROM spool
),
judged AS (
    SELECT
        *,
        CASE
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE identifier_problem(fields[1], 'parent_asin')
        END AS reason
    FROM read
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN json_text(fields[1]) END AS item_id,
    json_text(fields[2]) AS title,
    json_text(fields[3]) AS brand,
    -- The path; where there is none, as in all of All_Beauty, the department that the shop shows the item in.
    CASE WHEN len(json_texts(fields[4])) > 0 THEN json_texts(fields[4]) ELSE json_texts(fields[8]) END AS categories,
    array_to_string(json_texts(fields[5]), ' ') AS description,
    json_extract_string(fields[6], '$') AS price,
    -- A list of {thumb, large, hi_res, variant}; where a picture has several sizes, the largest is asked for first.
    list_filter(
        list_concat(json_extract_string(fields[7], '$[*].hi_res'), json_extract_string(fields[7], '$[*].large')),
        lambda url: url IS NOT NULL
    ) AS image_urls,
    CAST(NULL AS VARCHAR) AS image_path
FROM judged
