"""The training loop: optimiser step, compiled step, log and checkpoints."""
