"""Named bad inputs over all readers and options, made by code, and the forked workers that try them."""
