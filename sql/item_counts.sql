-- item_counts: how many interactions each item has in this round of the k-core.
-- From: kcore.
SELECT item_code, count(*) AS interactions
FROM kcore
GROUP BY item_code
