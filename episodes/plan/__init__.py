"""Evaluation plans: folds, supports, queries, parts and scored slices."""
