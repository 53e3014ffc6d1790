"""Encoders and the files that hold their weights."""
