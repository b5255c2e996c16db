-- repeated: users and items with more than one interaction between them.
-- From: coded_interactions.
SELECT user_code, item_code
FROM coded_interactions
GROUP BY user_code, item_code
HAVING count(*) > 1
