"""Masks of another program, scored under a plan."""
