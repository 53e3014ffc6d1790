"""Prepared datasets on disk, and reading their slices for learners."""
