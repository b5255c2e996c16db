-- user_counts: how many interactions each user has before the first round of the k-core.
-- From: kcore.
SELECT user_code, count(*) AS interactions
FROM kcore
GROUP BY user_code
