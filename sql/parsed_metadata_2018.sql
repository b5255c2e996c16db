-- parsed_metadata: one row per line of a metadata file in the Amazon 2018 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines.
WITH read AS (
    SELECT
        line,
        CASE WHEN json_valid(text) THEN json_type(text, ['$', '$.asin']) END AS kinds,
        CASE
            WHEN json_valid(text)
                THEN json_extract(
                    text, ['$.asin', '$.title', '$.brand', '$.category', '$.description', '$.price', '$.imageURLHighRes', '$.imageURL']
                )
        END AS fields
    FROM spool
),
judged AS (
    SELECT
        *,
        json_extract_string(fields[1], '$') AS asin,
        CASE
            WHEN kinds IS NULL THEN 'not JSON'
            WHEN kinds[1] <> 'OBJECT' THEN 'not a JSON object'
            ELSE identifier_problem(kinds[2], asin, 'asin')
        END AS reason
    FROM read
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN asin END AS item_id,
    json_text(fields[2]) AS title,
    json_text(fields[3]) AS brand,
    json_texts(fields[4]) AS categories,
    array_to_string(json_texts(fields[5]), ' ') AS description,
    json_extract_string(fields[6], '$') AS price,
    CASE WHEN len(json_texts(fields[7])) > 0 THEN json_texts(fields[7]) ELSE json_texts(fields[8]) END AS image_urls
FROM judged
ORDER BY line
