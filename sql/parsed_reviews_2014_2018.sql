-- parsed_reviews: one row per line of a review file in the Amazon 2014 or 2018 dialect; `reason` says why a line cannot be used.
-- From: spool (line, text), a block of screened lines. Neither names nor texts of reviews are read.
WITH read AS (
    SELECT
        line,
        CASE WHEN json_valid(text) THEN json_type(text, ['$', '$.reviewerID', '$.asin', '$.overall', '$.unixReviewTime']) END AS kinds,
        CASE WHEN json_valid(text) THEN json_extract_string(text, ['$.reviewerID', '$.asin', '$.overall', '$.unixReviewTime']) END AS fields
    FROM spool
),
typed AS (
    SELECT
        line,
        kinds,
        fields[1] AS user_id,
        fields[2] AS item_id,
        CASE WHEN kinds[4] IN ('DOUBLE', 'UBIGINT', 'BIGINT') THEN TRY_CAST(fields[3] AS DOUBLE) END AS rating,
        CASE WHEN kinds[5] IN ('DOUBLE', 'UBIGINT', 'BIGINT') THEN TRY_CAST(fields[4] AS DOUBLE) END AS seconds
    FROM read
),
judged AS (
    SELECT
        *,
        CASE
            WHEN kinds IS NULL THEN 'not JSON'
            WHEN kinds[1] <> 'OBJECT' THEN 'not a JSON object'
            ELSE coalesce(
                identifier_problem(kinds[2], user_id, 'reviewerID'),
                identifier_problem(kinds[3], item_id, 'asin'),
                CASE
                    WHEN kinds[4] IS NULL THEN 'no overall'
                    WHEN rating IS NULL THEN 'overall is not a number'
                    WHEN isnan(rating) OR rating NOT BETWEEN 0 AND 5 THEN 'overall is not between 0 and 5'
                    WHEN kinds[5] IS NULL THEN 'no unixReviewTime'
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
