"""The leaderboard: submissions that are checked and audited, and the static site."""
