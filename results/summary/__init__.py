"""Means, intervals and notes over records."""
