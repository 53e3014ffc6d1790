"""What an evaluation compares: folds, supports, queries, parts."""
