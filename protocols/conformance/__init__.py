"""Reference vectors of the released programs, replayed family by family."""
