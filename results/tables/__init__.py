"""Tables of folds, protocols, distances and published numbers."""
