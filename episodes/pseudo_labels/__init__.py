"""Superpixels and supervoxels."""
