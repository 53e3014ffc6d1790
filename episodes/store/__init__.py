"""A prepared dataset on disk and its slices as learners see them."""
