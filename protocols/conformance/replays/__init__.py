"""Reading and replaying of recorded vectors."""
