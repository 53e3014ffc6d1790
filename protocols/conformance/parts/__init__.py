"""Reference vectors of learners and pseudo-labels, one file each."""
