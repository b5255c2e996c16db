"""The leaderboard: ours, our baselines and published numbers of the same splits, over seeds, in one page and one picture."""
