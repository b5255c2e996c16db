-- kcore: what is left of it: interactions whose user and item both are.
-- From: kcore_before, and the users and items that are left with how many interactions they have.
SELECT *
FROM kcore_before
SEMI JOIN user_counts USING (user_code)
SEMI JOIN item_counts USING (item_code)
