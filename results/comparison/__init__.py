"""Two methods or the modules of one compared."""
