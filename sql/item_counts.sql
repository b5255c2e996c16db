-- item_counts: how many interactions each item has before the first round of the k-core.
-- From: kcore.
SELECT item_code, count(*) AS interactions
FROM kcore
GROUP BY item_code
