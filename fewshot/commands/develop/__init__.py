"""Commands for authors of methods."""
