"""Pseudo-labels of self-supervised training: superpixels and supervoxels."""
