"""Preparation: from folders of images and labels to stores."""
