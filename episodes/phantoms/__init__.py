"""Phantoms: whole datasets made by the program, for trying everything out without a download."""
