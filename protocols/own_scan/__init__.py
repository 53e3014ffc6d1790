"""A user's own scan, segmented from one annotated scan."""
