"""Records become Dice tables."""
