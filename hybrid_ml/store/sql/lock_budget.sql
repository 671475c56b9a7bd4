-- The budget of a feed, locked until the transaction ends; made on its first use.
INSERT INTO exchange_budgets AS known (feed, minute, weight_used)
VALUES (:feed, :minute, 0)
ON CONFLICT (feed) DO UPDATE SET feed = excluded.feed
RETURNING minute, weight_used, blocked_until
