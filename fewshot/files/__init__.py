"""Files: whole writes, locks, seals, and one boundary for each format that is read."""
