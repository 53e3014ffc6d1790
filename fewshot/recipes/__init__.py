"""Recipes by name: training numbers that several methods share, as data."""
