-- user_counts: users with interactions left after a round of the k-core, and how many.
-- From: user_counts_before, fallen.
SELECT user_code, interactions - coalesce(fell, 0) AS interactions
FROM user_counts_before
LEFT JOIN (SELECT user_code, count(*) AS fell FROM fallen GROUP BY user_code) AS losses USING (user_code)
WHERE interactions > coalesce(fell, 0)
