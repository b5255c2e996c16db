-- spool: one line of JSON per row of a table that is not written as JSON, so that rows of all kinds are judged by the same queries.
-- From: records (line, record), a block of rows whose columns are in a struct.
SELECT line, CAST(to_json(record) AS VARCHAR) AS text
FROM records
