"""Published methods, one file or package each, and the yardsticks."""
