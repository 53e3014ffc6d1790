"""Commands that hand a campaign to a cluster and bring its results home."""
