"""Saved predictions of recorded cells: their pictures and surface distances."""
