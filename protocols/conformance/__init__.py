"""Replays of the released programs' reference vectors, family by family."""
