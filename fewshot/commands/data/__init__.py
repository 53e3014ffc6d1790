"""Commands on data and rules."""
