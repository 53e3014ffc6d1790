"""Bases of learners outside the few-shot regime."""
