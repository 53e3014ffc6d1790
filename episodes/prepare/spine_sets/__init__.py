"""Spines with labelled discs in BIDS names: the layout of the folder, and the store made of it."""
