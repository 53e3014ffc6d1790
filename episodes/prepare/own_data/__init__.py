"""A user's own dataset: facts in a TOML file, files by patterns of their names, label maps."""
