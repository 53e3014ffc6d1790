"""Many cells of one command: planned, trained, evaluated, recorded."""
