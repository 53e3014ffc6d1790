"""Commands that print tables from records."""
