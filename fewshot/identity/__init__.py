"""Identity of results: versions of shared parts, digests of code, parts of keys."""
