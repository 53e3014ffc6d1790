"""Counts of pixels, overlap measures and surface distances."""
