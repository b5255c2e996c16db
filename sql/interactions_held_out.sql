-- interactions: the same, but purchases of a share of the items are held out of train: to whoever learns from train these items are new.
-- Only the seed decides how items are numbered, so the first so many are drawn at random.
-- From: interactions, item_index.
SELECT
    * REPLACE (
        CASE
            WHEN part = 'train' AND item_idx < ceil($share * (SELECT count(*) FROM item_index)) THEN 'held_out'
            ELSE part
        END AS part
    )
FROM interactions
