"""The rules of evaluation as data, and the runner that applies them."""
