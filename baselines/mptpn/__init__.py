"""MPTPN: segmentation of pictures with a sentence."""
