"""Commands that publish results: submissions, the leaderboard's page, citations."""
