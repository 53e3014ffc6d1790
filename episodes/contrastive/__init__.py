"""Images and pairs of views for contrastive pre-training."""
