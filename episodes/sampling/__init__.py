"""Training episodes: which are drawn, and their augmentation."""
