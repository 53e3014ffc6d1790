"""Replays of the reference outputs of released supervised systems."""
