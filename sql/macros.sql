-- Shared expressions; the one file here that makes no table.

-- Texts of a JSON value that is a list of texts, or a text alone. Anything else gives an empty list.
CREATE OR REPLACE TEMP MACRO json_texts(value) AS
    CASE json_type(value)
        WHEN 'ARRAY' THEN json_extract_string(value, '$[*]')
        WHEN 'VARCHAR' THEN [json_extract_string(value, '$')]
        ELSE CAST([] AS VARCHAR[])
    END;

-- Text of a JSON value that is a text, null otherwise.
CREATE OR REPLACE TEMP MACRO json_text(value) AS
    CASE WHEN json_type(value) = 'VARCHAR' THEN json_extract_string(value, '$') END;

-- Number of a JSON value that is a number, null otherwise. May be infinite or no number at all: DuckDB takes NaN for JSON.
CREATE OR REPLACE TEMP MACRO json_number(value) AS
    CASE WHEN json_type(value) IN ('DOUBLE', 'UBIGINT', 'BIGINT') THEN TRY_CAST(json_extract_string(value, '$') AS DOUBLE) END;

-- Why a text cannot name a user or an item, null if it can.
CREATE OR REPLACE TEMP MACRO unfit_for_identifier(id, name) AS
    CASE
        WHEN trim(id) = '' THEN name || ' is empty'
        WHEN regexp_matches(id, '[\x00-\x1F\x7F]') THEN name || ' holds control characters'
    END;

-- Why a JSON value is no usable identifier, null if it is one. Amazon's are texts.
CREATE OR REPLACE TEMP MACRO identifier_problem(value, name) AS
    CASE
        WHEN value IS NULL THEN 'no ' || name
        WHEN json_type(value) <> 'VARCHAR' THEN name || ' is not text'
        ELSE unfit_for_identifier(json_extract_string(value, '$'), name)
    END;

-- The name that a JSON value of a shop's own table stands for: a text or a whole number; null for anything else. A column of whole numbers
-- with a gap is one of floating-point numbers in many tools.
CREATE OR REPLACE TEMP MACRO table_identifier(value) AS
    CASE
        WHEN json_type(value) IN ('VARCHAR', 'BIGINT', 'UBIGINT') THEN json_extract_string(value, '$')
        WHEN abs(json_number(value)) < 9007199254740992 AND json_number(value) = floor(json_number(value))
            THEN CAST(CAST(json_number(value) AS BIGINT) AS VARCHAR)
    END;

-- Whether the text of a JSON value is one whose name can be told without parsing it: printable ASCII in quotes, or digits.
CREATE OR REPLACE TEMP MACRO is_plain_table_identifier(json) AS
    regexp_full_match(json, '"[!#-\[\]-~][ !#-\[\]-~]*"|\d{1,15}');

-- A number as text, of a JSON value of a shop's own table that may be one; null for anything else.
CREATE OR REPLACE TEMP MACRO table_number(value) AS
    CASE
        WHEN json_type(value) IN ('VARCHAR', 'BIGINT', 'UBIGINT', 'DOUBLE') THEN trim(json_extract_string(value, '$'))
    END;

-- Why a JSON value with that name is no usable identifier, null if it is one.
CREATE OR REPLACE TEMP MACRO table_identifier_problem(value, id, name) AS
    CASE
        WHEN coalesce(json_type(value), 'NULL') = 'NULL' THEN 'no ' || name
        WHEN id IS NULL THEN name || ' is neither text nor a whole number'
        ELSE unfit_for_identifier(id, name)
    END;

-- A number that decides order by chance, yet the same on every machine. Identifiers hold no control characters, so the parts cannot run
-- into one another.
CREATE OR REPLACE TEMP MACRO seeded_hash(seed, purpose, a, b) AS
    md5(concat(seed, chr(31), purpose, chr(31), a, chr(31), b));

-- Whether the text of a JSON value is a plain identifier in quotes, as nearly all are; that needs no second parsing to be told.
CREATE OR REPLACE TEMP MACRO is_plain_identifier(json) AS regexp_full_match(json, '"[A-Za-z0-9_-]+"');

-- Whether a review's line is an object whose names are plain and whose numbers, read already, lie where they must.
CREATE OR REPLACE TEMP MACRO is_plain_review(text, user_json, item_json, rating, time, first, last) AS
    coalesce(
        starts_with(text, '{') AND is_plain_identifier(user_json) AND is_plain_identifier(item_json)
        AND isfinite(rating) AND rating BETWEEN 0 AND 5
        AND isfinite(time) AND time BETWEEN first AND last AND time = floor(time),
        false
    );

-- A plain identifier without its quotes.
CREATE OR REPLACE TEMP MACRO plain_identifier(json) AS substring(json, 2, strlen(json) - 2);

-- Whether a line of text is a JSON object, once it is known to be JSON.
CREATE OR REPLACE TEMP MACRO is_object(text) AS
    starts_with(ltrim(text, chr(32) || chr(9) || chr(13)), '{');

-- Why a value is no rating, null if it is one.
CREATE OR REPLACE TEMP MACRO rating_problem(value, name) AS
    CASE
        WHEN value IS NULL THEN 'no ' || name
        WHEN json_number(value) IS NULL THEN name || ' is not a number'
        WHEN isnan(json_number(value)) OR json_number(value) NOT BETWEEN 0 AND 5 THEN name || ' is not between 0 and 5'
    END;

-- Why a value is no whole number between two, null if it is one. The bounds of a time tell its unit: milliseconds are no seconds.
CREATE OR REPLACE TEMP MACRO time_problem(value, name, first, last) AS
    CASE
        WHEN value IS NULL THEN 'no ' || name
        WHEN json_number(value) IS NULL THEN name || ' is not a number'
        WHEN isnan(json_number(value)) OR json_number(value) NOT BETWEEN first AND last THEN name || ' is out of range'
        WHEN json_number(value) <> floor(json_number(value)) THEN name || ' is not whole'
    END;

-- The last so many elements of a list; all of them where no number is given.
CREATE OR REPLACE TEMP MACRO latest(elements, number) AS
    CASE WHEN number IS NULL THEN elements ELSE elements[-number:] END;

-- A price as it may be written, as regular expressions. Amounts: the American way ("1,234.56"), or the European where that alone can be
-- meant ("1.234,56", "12,34", "1.234.567"). Currencies: dollars, others, and either.
CREATE OR REPLACE TEMP MACRO price_amount() AS
    '(?:(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?(?:e[+-]?\d{1,2})?|\.\d+|\d{1,3}(?:\.\d{3})+,\d{2}|\d+,\d{2}|\d{1,3}(?:\.\d{3}){2,})';
CREATE OR REPLACE TEMP MACRO price_dollar() AS '(?:US ?\$|USD ?\$?|\$)';
CREATE OR REPLACE TEMP MACRO price_foreign() AS
    '(?:\p{Sc}|(?:A|AU|C|CA|CDN|HK|MX|NT|NZ|R|S|SG) ?\$|Rs\.?|kr\.?|zł|' ||
    'AED|AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|EUROS?|GBP|HKD|INR|JPY|KRW|MXN|NOK|NZD|PLN|RMB|SEK|SGD|TRY|TWD|ZAR)';
CREATE OR REPLACE TEMP MACRO price_in(currency) AS
    '(?:' || currency || ' ?' || price_amount() || '|' || price_amount() || ' ?' || currency || ')';
CREATE OR REPLACE TEMP MACRO price_any() AS
    '(?:' || price_amount() || '|' || price_in('(?:' || price_dollar() || '|' || price_foreign() || ')') || ')';

-- The number in a price that holds one.
CREATE OR REPLACE TEMP MACRO price_number(price) AS
    TRY_CAST(
        CASE
            WHEN regexp_matches(price, ',\d\d(\D|$)') THEN replace(regexp_replace(price, '[^\d,]', '', 'g'), ',', '.')
            WHEN regexp_matches(price, '\.\d{3}\.\d{3}') THEN regexp_replace(price, '\D', '', 'g')
            ELSE regexp_replace(price, '[^\de.+-]', '', 'gi')
        END AS DOUBLE
    );

-- Whether what was in a text, cleaned to {text, rules}, was debris of a page alone.
CREATE OR REPLACE TEMP MACRO is_debris(cleaned) AS
    cleaned.text IS NULL AND list_has_any(cleaned.rules, ['tags', 'blocks', 'script']);

-- What a cleaned price is: a number (in dollars, or without a currency), a range, in another currency, empty, or debris of a page.
CREATE OR REPLACE TEMP MACRO price_rule(price) AS
    CASE
        WHEN price IS NULL THEN 'empty'
        WHEN
            regexp_full_match(price, '(?i)' || price_amount() || '|' || price_in(price_dollar()))
            AND coalesce(isfinite(price_number(price)), false)
            THEN 'number'
        WHEN regexp_full_match(price, '(?i)none|null|n/a|[-–—_.?]+') THEN 'empty'
        WHEN regexp_full_match(
            price,
            '(?i)(?:from|starting at|as low as|up to|under|over) ' || price_any() ||
            '|' || price_any() || ' ?(?:[-–—~]|to) ?' || price_any() ||
            '|' || price_any() || ' ?(?:\+|(?:and|or) (?:up|more|less))'
        ) THEN 'range'
        WHEN regexp_full_match(price, '(?i)' || price_in(price_foreign())) THEN 'currency'
        ELSE 'debris'
    END;

-- A cleaned brand without what pages put before it ("by X", "Brand: X", "Visit the X Store", "Visit Amazon's X Page") or behind it
-- ("X (Artist) Format: Audio CD"). "by" is small on Amazon's pages; By Terry is a brand.
CREATE OR REPLACE TEMP MACRO brand_without_prefix(brand) AS
    regexp_replace(
        regexp_replace(brand, '^(?:by(?:\s+|$)|(?i:by|brand):\s*)+', ''),
        '(?i)^visit (?:the (.+) store|amazon''s (.+) page)$', '\1\2'
    );
CREATE OR REPLACE TEMP MACRO brand_without_suffix(brand) AS
    trim(regexp_replace(
        regexp_replace(brand, '(?:^|\s)Format: .*$', ''),
        '\s*\((?:Actor|Artist|Author|Composer|Conductor|Contributor|Director|Editor|Illustrator|Narrator|Performer|Producer|Translator)\)',
        '', 'g'
    ));

-- Whether a cleaned brand says that there is none.
CREATE OR REPLACE TEMP MACRO is_no_brand(brand) AS
    regexp_full_match(brand, '(?i)unknown|generic|unbranded|no brand|not applicable|not available|does not apply|none|null|n/a|[-–—_.?*/ ]+');

-- Whether a cleaned step of a category path of Amazon's 2018 pages, {text, rules}, is none. There, and only there, the bullets on the item
-- follow the path: tags of which nothing is left, sentences, long texts. True steps had 39 characters at most, bullets without a full stop
-- 47 and more.
CREATE OR REPLACE TEMP MACRO is_no_category(step) AS
    coalesce(length(step.text) > 60 OR regexp_full_match(step.text, '\S+ \S+ .*([a-z]{4}|\d|\))[.!?]'), false)
    OR is_debris(step);

-- The elements of a list without repetitions and nulls, in their order; null if none is left.
CREATE OR REPLACE TEMP MACRO first_ones(elements) AS
    nullif(list_filter(elements, lambda element, place: list_position(elements, element) = place AND element IS NOT NULL), []);
