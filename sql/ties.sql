-- ties: the moments at which a user has several interactions, whose order chance must decide.
-- From: kcore.
SELECT user_code, timestamp, true AS tied
FROM kcore
GROUP BY user_code, timestamp
HAVING count(*) > 1
