"""Phantoms: complete synthetic datasets, for trials without a download."""
