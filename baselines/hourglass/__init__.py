"""The stacked hourglass for landmarks, with attention over its stacks."""
