"""Records: their typed form, their files, and what tells configurations apart."""
