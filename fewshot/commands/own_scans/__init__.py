"""Commands on a user's own scans."""
