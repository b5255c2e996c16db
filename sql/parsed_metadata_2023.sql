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
),
-- A list of pictures, each a {thumb, large, hi_res, variant}; on Hugging Face one {thumb, large, hi_res, variant} of lists.
listed AS (
    SELECT
        *,
        CASE json_type(fields[7])
            WHEN 'ARRAY' THEN from_json(
                fields[7], '[{"hi_res": "VARCHAR", "large": "VARCHAR", "thumb": "VARCHAR", "variant": "VARCHAR"}]'
            )
            WHEN 'OBJECT' THEN list_transform(
                list_zip(
                    json_texts(json_extract(fields[7], '$.hi_res')),
                    json_texts(json_extract(fields[7], '$.large')),
                    json_texts(json_extract(fields[7], '$.thumb')),
                    json_texts(json_extract(fields[7], '$.variant'))
                ),
                lambda picture: {
                    'hi_res': picture[1], 'large': picture[2], 'thumb': picture[3], 'variant': picture[4]
                }
            )
        END AS pictures
    FROM judged
),
-- Of each picture its largest size.
sized AS (
    SELECT
        *,
        list_transform(
            pictures,
            lambda picture: {
                'url': coalesce(nullif(trim(picture.hi_res), ''), nullif(trim(picture.large), ''), nullif(trim(picture.thumb), '')),
                'is_main': coalesce(picture.variant = 'MAIN', false)
            }
        ) AS sizes
    FROM listed
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
    -- The main picture comes first, the others in their order.
    list_transform(
        list_concat(
            list_filter(sizes, lambda picture: picture.is_main AND picture.url IS NOT NULL),
            list_filter(sizes, lambda picture: NOT picture.is_main AND picture.url IS NOT NULL)
        ),
        lambda picture: picture.url
    ) AS image_urls,
    CAST(NULL AS VARCHAR) AS image_path
FROM sized
