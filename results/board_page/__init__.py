"""The leaderboard of all records as one static page: table, filters, details, method and dataset cards."""
