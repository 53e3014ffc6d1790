"""Foundations that every package imports: errors, types, seeds, files, locks, memory, processes."""
