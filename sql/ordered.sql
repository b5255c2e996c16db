-- ordered: the k-core with numbers for names, user after user, each in the order of time, and each row's place in it.
-- Equal times are ordered by a seeded hash: order of lines or names would make one item the last again and again. It is asked for only
-- there, and names come in later, since sorting few and narrow columns takes half the time.
-- From: kcore, user_index, item_index, ties.
SELECT *, row_number() OVER () - 1 AS place  -- counts rows as they come, which is sorted
FROM (
    SELECT user_idx, item_idx, rating, timestamp
    FROM kcore
    JOIN user_index USING (user_code)
    JOIN item_index USING (item_code)
    LEFT JOIN ties USING (user_code, timestamp)
    ORDER BY user_idx, timestamp, CASE WHEN tied THEN seeded_hash($seed, 'tie', user_id, item_id) END, item_idx, rating
)
