"""One cell: predictions, counts, its record."""
