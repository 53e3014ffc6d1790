"""I-MMSeg: pathology of the heart from several registered sequences, with sentences as priors."""
