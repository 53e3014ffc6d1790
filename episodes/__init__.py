"""From files to episodes: volumes, stores, class-slice indices, plans, training episodes."""
