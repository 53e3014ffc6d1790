"""Training episodes: the samplers that draw them, and their augmentation."""
