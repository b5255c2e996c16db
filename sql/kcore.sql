-- kcore: what is left after one round of removing users and items with too few interactions. Repeated until nothing more goes.
-- From: kcore_before, the round before (at first: deduplicated), and how often each user and item occurs in it.
SELECT *
FROM kcore_before
SEMI JOIN (SELECT user_code FROM user_counts WHERE interactions >= $k_user) AS users USING (user_code)
SEMI JOIN (SELECT item_code FROM item_counts WHERE interactions >= $k_item) AS items USING (item_code)
