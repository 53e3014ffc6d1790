"""Dense contrastive pre-training of a backbone."""
