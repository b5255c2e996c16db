-- user_index: consecutive numbers for users, in an order that only the seed decides.
-- From: kcore.
SELECT
    user_id,
    CAST(row_number() OVER (ORDER BY seeded_hash($seed, 'user', user_id, ''), user_id) - 1 AS INTEGER) AS user_idx
FROM (SELECT DISTINCT user_id FROM kcore)
