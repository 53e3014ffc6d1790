"""Submissions: one file with the records of one configuration and its method card, and what checks it."""
