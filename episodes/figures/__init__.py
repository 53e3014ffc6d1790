"""Pictures of prepared scans."""
