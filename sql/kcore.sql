-- kcore: what is left after one round of removing users and items with too few interactions. Repeated until nothing more goes.
-- From: kcore_before, the round before (at first: deduplicated).
SELECT *
FROM kcore_before
SEMI JOIN (SELECT user_id FROM kcore_before GROUP BY user_id HAVING count(*) >= $k_user) AS users USING (user_id)
SEMI JOIN (SELECT item_id FROM kcore_before GROUP BY item_id HAVING count(*) >= $k_item) AS items USING (item_id)
