-- parsed: one row per line of a review file in the Amazon 2014 or 2018 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines. Neither names nor texts of reviews are read.
WITH read AS (
    SELECT
        line,
        text,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(text, ['$.reviewerID', '$.asin', '$.overall', '$.unixReviewTime'])) AS fields
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
        is_plain_review(text, user_json, item_json, rating, time, 0, 4102444800) AS plain
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
                identifier_problem(fields[1], 'reviewerID'),
                identifier_problem(fields[2], 'asin'),
                rating_problem(fields[3], 'overall'),
                time_problem(fields[4], 'unixReviewTime', 0, 4102444800)  -- seconds, to the year 2100
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
    CASE WHEN reason IS NULL THEN CAST(time AS BIGINT) END AS timestamp,
    false AS folded
FROM judged
