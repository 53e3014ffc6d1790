"""The rules of evaluation as data, and the runner that asks them."""
