"""Pictures of scans, boards and explanations."""
