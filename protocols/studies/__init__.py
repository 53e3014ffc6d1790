"""Studies over many cells: ablations, the probe of dense features, explanations."""
