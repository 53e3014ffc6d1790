"""Models by what they depend on: specs, stages, pre-training, what is missing is trained."""
