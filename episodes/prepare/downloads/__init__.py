"""Layouts of the original downloads, one module per dataset."""
