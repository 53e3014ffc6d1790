"""Inference over folds, seeds, scans and supports: intervals, tests, ranks and variance components."""
