"""How recorded vectors are read and replayed."""
