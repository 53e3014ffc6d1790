"""Campaigns: many runs at once, listed as jobs, submitted to Slurm or to this machine, and followed."""
