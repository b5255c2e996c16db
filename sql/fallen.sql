-- fallen: what falls in one round of the k-core: interactions of a user or an item with too few.
-- From: kcore, which may hold interactions that fell in earlier rounds, and the users and items that were left after those.
SELECT user_code, item_code
FROM kcore
SEMI JOIN (SELECT user_code FROM user_counts WHERE interactions < $k_user) AS weak_users USING (user_code)
SEMI JOIN item_counts USING (item_code)
UNION ALL
SELECT user_code, item_code
FROM kcore
SEMI JOIN (SELECT item_code FROM item_counts WHERE interactions < $k_item) AS weak_items USING (item_code)
SEMI JOIN (SELECT user_code FROM user_counts WHERE interactions >= $k_user) AS strong_users USING (user_code)
