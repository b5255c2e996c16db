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

-- Why a JSON value is no usable identifier, null if it is one.
CREATE OR REPLACE TEMP MACRO identifier_problem(value, name) AS
    CASE
        WHEN value IS NULL THEN 'no ' || name
        WHEN json_type(value) <> 'VARCHAR' THEN name || ' is not text'
        WHEN trim(json_extract_string(value, '$')) = '' THEN name || ' is empty'
        WHEN regexp_matches(json_extract_string(value, '$'), '[\x00-\x1F\x7F]') THEN name || ' holds control characters'
    END;

-- A number that decides order by chance, yet the same on every machine. Identifiers hold no control characters, so the parts cannot run
-- into one another.
CREATE OR REPLACE TEMP MACRO seeded_hash(seed, purpose, a, b) AS
    md5(concat(seed, chr(31), purpose, chr(31), a, chr(31), b));
