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
cells AS (
    SELECT
        line,
        is_object,
        fields,
        list_transform(
            fields[1:2],
            lambda field: CASE
                WHEN json_type(field) IN ('VARCHAR', 'BIGINT', 'UBIGINT') THEN json_extract_string(field, '$')
                -- A column of whole numbers with a gap is one of floating-point numbers in many tools.
                WHEN abs(json_number(field)) < 9007199254740992 AND json_number(field) = floor(json_number(field))
                    THEN CAST(CAST(json_number(field) AS BIGINT) AS VARCHAR)
            END
        ) AS ids,
        list_transform(
            fields[3:4],
            lambda field: CASE
                WHEN json_type(field) IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'DOUBLE') THEN trim(json_extract_string(field, '$'))
            END
        ) AS numbers
    FROM read
),
measured AS (
    SELECT
        *,
        TRY_CAST(numbers[2] AS DOUBLE) AS rating,
        regexp_full_match(numbers[1], '[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?') AS time_is_number,
        regexp_extract(
            numbers[1],
            '^(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?)(?: ?(Z|z|UTC|([+-])(\d{2}):?(\d{2})?))?$',
            ['moment', 'zone', 'sign', 'hours', 'minutes']
        ) AS iso
    FROM cells
),
timed AS (
    SELECT
        *,
        CASE
            WHEN regexp_full_match(numbers[1], '\d{1,30}') THEN CAST(numbers[1] AS HUGEINT) // $per_second  -- exact, as doubles are not
            WHEN time_is_number THEN floor(TRY_CAST(numbers[1] AS DOUBLE) / $per_second)
            -- Not cast to a time with a zone: that would take this machine's zone for a time without one.
            WHEN iso.moment <> '' THEN floor(epoch(TRY_CAST(iso.moment AS TIMESTAMP)))
                - CASE iso.sign WHEN '+' THEN 60 WHEN '-' THEN -60 ELSE 0 END
                * (60 * coalesce(TRY_CAST(iso.hours AS INTEGER), 0) + coalesce(TRY_CAST(iso.minutes AS INTEGER), 0))
        END AS seconds
    FROM measured
),
judged AS (
    SELECT
        *,
        CASE
            WHEN fields IS NULL THEN 'not JSON'
            WHEN NOT is_object THEN 'not a JSON object'
            ELSE coalesce(
                list_filter(
                    list_transform(
                        [1, 2],
                        lambda which: CASE
                            WHEN coalesce(json_type(fields[which]), 'NULL') = 'NULL' THEN 'no ' || CAST($names AS VARCHAR[])[which]
                            WHEN ids[which] IS NULL THEN CAST($names AS VARCHAR[])[which] || ' is neither text nor a whole number'
                            WHEN trim(ids[which]) = '' THEN CAST($names AS VARCHAR[])[which] || ' is empty'
                            WHEN regexp_matches(ids[which], '[\x00-\x1F\x7F]')
                                THEN CAST($names AS VARCHAR[])[which] || ' holds control characters'
                        END
                    ),
                    lambda problem: problem IS NOT NULL
                )[1],
                CASE
                    -- A shop's buyers need not rate: then the rating is null.
                    WHEN NOT $has_rating OR coalesce(json_type(fields[4]), 'NULL') = 'NULL' OR numbers[2] = '' THEN NULL
                    WHEN rating IS NULL THEN CAST($names AS VARCHAR[])[4] || ' is not a number'
                    WHEN isnan(rating) OR abs(rating) > 3e38 THEN CAST($names AS VARCHAR[])[4] || ' is not finite'
                END,
                CASE
                    WHEN coalesce(json_type(fields[3]), 'NULL') = 'NULL' THEN 'no ' || CAST($names AS VARCHAR[])[3]
                    WHEN numbers[1] = '' THEN CAST($names AS VARCHAR[])[3] || ' is empty'
                    WHEN seconds IS NULL THEN CAST($names AS VARCHAR[])[3] || ' is neither a number nor an ISO 8601 time'
                    -- From 1970 to 2100; numbers of milliseconds and less from 1990, before any shop: seconds would all be of 1970.
                    WHEN seconds NOT BETWEEN CASE WHEN time_is_number AND $per_second > 1 THEN 631152000 ELSE 0 END AND 4102444800
                        THEN CAST($names AS VARCHAR[])[3] || ' is out of range'
                END
            )
        END AS reason
    FROM timed
)
SELECT
    line,
    reason,
    CASE WHEN reason IS NULL THEN ids[1] END AS user_id,
    CASE WHEN reason IS NULL THEN ids[2] END AS item_id,
    CASE WHEN reason IS NULL AND $has_rating THEN CAST(rating AS FLOAT) END AS rating,
    CASE WHEN reason IS NULL THEN CAST(seconds AS BIGINT) END AS timestamp,
    false AS folded
FROM judged
ORDER BY line
