-- parsed_reviews: one row per line of a review file in the Amazon 2014 or 2018 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines. Neither names nor texts of reviews are read.
WITH read AS (
    SELECT
        line,
        starts_with(ltrim(text, chr(32) || chr(9) || chr(13)), '{') AS is_object,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(text, ['$.reviewerID', '$.asin', '$.overall', '$.unixReviewTime'])) AS fields
    FROM spool
),
typed AS (
    SELECT
        line,
        is_object,
        fields,
        json_extract_string(fields[1], '$') AS user_id,
        json_extract_string(fields[2], '$') AS item_id,
        json_number(fields[3]) AS rating,
        json_number(fields[4]) AS seconds
    FROM read
),
judged AS (
    SELECT
        *,
        CASE
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE coalesce(
                identifier_problem(fields[1], 'reviewerID'),
                identifier_problem(fields[2], 'asin'),
                CASE
                    WHEN fields[3] IS NULL THEN 'no overall'
                    WHEN rating IS NULL THEN 'overall is not a number'
                    WHEN isnan(rating) OR rating NOT BETWEEN 0 AND 5 THEN 'overall is not between 0 and 5'
                    WHEN fields[4] IS NULL THEN 'no unixReviewTime'
                    WHEN seconds IS NULL THEN 'unixReviewTime is not a number'
                    -- The year 2100: beyond it the unit is not seconds.
                    WHEN isnan(seconds) OR seconds NOT BETWEEN 0 AND 4102444800 THEN 'unixReviewTime is out of range'
                    WHEN seconds <> floor(seconds) THEN 'unixReviewTime is not whole'
                END
            )
        END AS reason
    FROM typed
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN user_id END AS user_id,
    CASE WHEN reason IS NULL THEN item_id END AS item_id,
    CASE WHEN reason IS NULL THEN CAST(rating AS FLOAT) END AS rating,
    CASE WHEN reason IS NULL THEN CAST(seconds AS BIGINT) END AS timestamp
FROM judged
ORDER BY line
