-- parsed: one row per line of a review file in the Amazon 2023 dialect; `reason` says why a line cannot be used.
-- A review of a variant counts for the item it belongs to (`parent_asin`); `folded` says where that is another.
-- From: spool (line, text), a block of screened lines. Neither titles nor texts of reviews are read.
WITH read AS (
    SELECT
        line,
        text,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(text, ['$.user_id', '$.parent_asin', '$.rating', '$.timestamp', '$.asin'])) AS fields
    FROM spool
),
typed AS (
    SELECT
        *,
        CAST(fields[1] AS VARCHAR) AS user_json,
        CAST(fields[2] AS VARCHAR) AS item_json,
        -- Null for what is no number: texts are in quotes here.
        TRY_CAST(CAST(fields[3] AS VARCHAR) AS DOUBLE) AS rating,
        TRY_CAST(CAST(fields[4] AS VARCHAR) AS DOUBLE) AS time
    FROM read
),
told AS (
    SELECT
        *,
        -- As nearly all lines are: that is told without parsing the fields one by one.
        is_plain_review(text, user_json, item_json, rating, time, 631152000000, 4102444800000) AS plain
    FROM typed
),
judged AS (
    SELECT
        *,
        CASE
            WHEN plain THEN NULL
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object(text) THEN 'not a JSON object'
            ELSE coalesce(
                identifier_problem(fields[1], 'user_id'),
                identifier_problem(fields[2], 'parent_asin'),
                rating_problem(fields[3], 'rating'),
                -- Milliseconds, from the year 1990, before any shop, to 2100. Seconds would all be of 1970.
                time_problem(fields[4], 'timestamp', 631152000000, 4102444800000)
            )
        END AS reason
    FROM told
)
SELECT
    line,
    reason,
    CASE WHEN plain THEN plain_identifier(user_json) WHEN reason IS NULL THEN json_extract_string(fields[1], '$') END AS user_id,
    CASE WHEN plain THEN plain_identifier(item_json) WHEN reason IS NULL THEN json_extract_string(fields[2], '$') END AS item_id,
    CASE WHEN reason IS NULL THEN CAST(rating AS FLOAT) END AS rating,
    CASE WHEN reason IS NULL THEN CAST(time AS BIGINT) // 1000 END AS timestamp,
    reason IS NULL AND coalesce(json_text(fields[5]) <> json_text(fields[2]), false) AS folded
FROM judged
