"""Files on disk become episodes: volumes, stores, class-slice indices, plans, training episodes."""
