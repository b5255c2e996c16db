-- item_counts: items with interactions left after a round of the k-core, and how many.
-- From: item_counts_before, fallen.
SELECT item_code, interactions - coalesce(fell, 0) AS interactions
FROM item_counts_before
LEFT JOIN (SELECT item_code, count(*) AS fell FROM fallen GROUP BY item_code) AS losses USING (item_code)
WHERE interactions > coalesce(fell, 0)
