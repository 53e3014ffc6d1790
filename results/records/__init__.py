"""Records: their typed form, their files, and the identity of a configuration."""
