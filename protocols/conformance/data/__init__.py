"""Reference vectors of preparation and plans."""
