-- parsed: one row per line of a metadata file in the Amazon 2014 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines, turned from Python literals into JSON.
WITH read AS (
    SELECT
        line,
        is_object(text) AS is_object,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(
            text, ['$.asin', '$.title', '$.brand', '$.categories', '$.description', '$.price', '$.imUrl']
        )) AS fields
    FROM spool
),
judged AS (
    SELECT
        *,
        CASE
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE identifier_problem(fields[1], 'asin')
        END AS reason
    FROM read
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN json_text(fields[1]) END AS item_id,
    json_text(fields[2]) AS title,
    json_text(fields[3]) AS brand,
    -- A list of paths from the root; a path's steps are flattened, and repeated ones go when the lists are cleaned.
    CASE
        WHEN json_type(fields[4], '$[0]') = 'ARRAY' THEN json_extract_string(fields[4], '$[*][*]')
        ELSE json_texts(fields[4])
    END AS categories,
    array_to_string(json_texts(fields[5]), ' ') AS description,
    json_extract_string(fields[6], '$') AS price,
    json_texts(fields[7]) AS image_urls,
    CAST(NULL AS VARCHAR) AS image_path
FROM judged
