-- user_index: consecutive numbers for users, in an order that only the seed decides.
-- From: kcore, user_codes.
SELECT
    user_code,
    user_id,
    CAST(row_number() OVER (ORDER BY seeded_hash($seed, 'user', user_id, ''), user_id) - 1 AS INTEGER) AS user_idx
FROM user_codes
SEMI JOIN kcore USING (user_code)
