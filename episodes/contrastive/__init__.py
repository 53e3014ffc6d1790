"""Images and pairs of random views for contrastive pre-training."""
