"""TMUnet: contextual attention with boundary supervision."""
