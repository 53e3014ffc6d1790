"""What the harness gives to learners outside the few-shot regime."""
