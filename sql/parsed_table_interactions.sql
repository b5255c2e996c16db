-- parsed: one row per interaction of a shop's own table; `reason` says why one cannot be used.
-- Names are texts or whole numbers. Times are numbers in $per_second parts of a second, or ISO 8601 dates and times, UTC where they name no
-- zone. Numbers count as numbers when they are written as text, too: a CSV file knows nothing else.
-- From: spool (line, text), a block of rows as JSON.
WITH read AS (
    SELECT
        line,
        is_object(text) AS is_object,
        -- Null where the text is no JSON. Each line is parsed once, however many fields are asked for.
        TRY(json_extract(text, CAST($paths AS VARCHAR[]))) AS fields
    FROM spool
),
told AS (
    SELECT
        *,
        -- As nearly all rows are: that is told without parsing the fields one by one.
        coalesce(
            is_object
            AND is_plain_table_identifier(CAST(fields[1] AS VARCHAR))
            AND is_plain_table_identifier(CAST(fields[2] AS VARCHAR))
            AND regexp_full_match(CAST(fields[3] AS VARCHAR), '\d{1,18}|"\d{1,18}"')
            AND (NOT $has_rating OR regexp_full_match(CAST(fields[4] AS VARCHAR), 'null|""|\d{1,9}(\.\d{1,9})?|"\d{1,9}(\.\d{1,9})?"')),
            false
        ) AS plain
    FROM read
),
cells AS (
    SELECT
        *,
        CASE WHEN plain THEN trim(CAST(fields[1] AS VARCHAR), '"') ELSE table_identifier(fields[1]) END AS user_id,
        CASE WHEN plain THEN trim(CAST(fields[2] AS VARCHAR), '"') ELSE table_identifier(fields[2]) END AS item_id,
        CASE WHEN plain THEN trim(CAST(fields[3] AS VARCHAR), '"') ELSE table_number(fields[3]) END AS time,
        CASE WHEN plain THEN trim(CAST(fields[4] AS VARCHAR), '"') ELSE table_number(fields[4]) END AS rating_text
    FROM told
),
measured AS (
    SELECT
        *,
        TRY_CAST(rating_text AS DOUBLE) AS rating,
        plain OR regexp_full_match(time, '[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?') AS time_is_number,
        CASE WHEN NOT plain THEN regexp_extract(
            time,
            '^(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?)(?: ?(Z|z|UTC|([+-])([01]\d|2[0-3]):?([0-5]\d)?))?$',
            ['moment', 'zone', 'sign', 'hours', 'minutes']
        ) END AS iso
    FROM cells
),
timed AS (
    SELECT
        *,
        CASE
            WHEN plain THEN CAST(time AS BIGINT) // $per_second
            WHEN regexp_full_match(time, '\d{1,30}') THEN CAST(time AS HUGEINT) // $per_second  -- exact, as doubles are not
            WHEN time_is_number THEN floor(TRY_CAST(time AS DOUBLE) / $per_second)
            -- Not cast to a time with a zone: that would take this machine's zone for a time without one.
            WHEN iso.moment <> '' THEN floor(epoch(TRY_CAST(iso.moment AS TIMESTAMP)))
                - CASE iso.sign WHEN '+' THEN 60 WHEN '-' THEN -60 ELSE 0 END
                * (60 * coalesce(TRY_CAST(iso.hours AS INTEGER), 0) + coalesce(TRY_CAST(iso.minutes AS INTEGER), 0))
        END AS seconds,
        -- From 1970 to 2100; numbers of milliseconds and less from 1990, before any shop: seconds would all be of 1970.
        seconds BETWEEN CASE WHEN time_is_number AND $per_second > 1 THEN 631152000 ELSE 0 END AND 4102444800 AS is_in_range
    FROM measured
),
judged AS (
    SELECT
        *,
        CASE
            WHEN plain AND is_in_range THEN NULL
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE coalesce(
                table_identifier_problem(fields[1], user_id, CAST($names AS VARCHAR[])[1]),
                table_identifier_problem(fields[2], item_id, CAST($names AS VARCHAR[])[2]),
                CASE
                    -- A shop's buyers need not rate: then the rating is null.
                    WHEN NOT $has_rating OR coalesce(json_type(fields[4]), 'NULL') = 'NULL' OR rating_text = '' THEN NULL
                    WHEN rating IS NULL THEN CAST($names AS VARCHAR[])[4] || ' is not a number'
                    WHEN isnan(rating) OR abs(rating) > 3e38 THEN CAST($names AS VARCHAR[])[4] || ' is not finite'
                END,
                CASE
                    WHEN coalesce(json_type(fields[3]), 'NULL') = 'NULL' THEN 'no ' || CAST($names AS VARCHAR[])[3]
                    WHEN time = '' THEN CAST($names AS VARCHAR[])[3] || ' is empty'
                    WHEN seconds IS NULL THEN CAST($names AS VARCHAR[])[3] || ' is neither a number nor an ISO 8601 time'
                    WHEN NOT is_in_range THEN CAST($names AS VARCHAR[])[3] || ' is out of range'
                END
            )
        END AS reason
    FROM timed
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN user_id END AS user_id,
    CASE WHEN reason IS NULL THEN item_id END AS item_id,
    CASE WHEN reason IS NULL AND $has_rating THEN CAST(rating AS FLOAT) END AS rating,
    CASE WHEN reason IS NULL THEN CAST(seconds AS BIGINT) END AS timestamp,
    false AS folded
FROM judged
ORDER BY line
