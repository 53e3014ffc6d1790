"""Ground that every package stands on: errors, types, seeds, files, locks, memory, processes."""
