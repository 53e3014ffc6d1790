"""The rules of a protocol as data: parsed, described, compared, audited."""
