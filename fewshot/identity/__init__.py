"""What results depend on: versions of shared parts, digests of code, parts of keys."""
