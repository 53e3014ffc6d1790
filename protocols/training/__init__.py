"""Trained models, keyed by their training inputs: specs, stages, pre-training."""
