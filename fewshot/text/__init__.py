"""Vectors of sentences, for methods that read text."""
