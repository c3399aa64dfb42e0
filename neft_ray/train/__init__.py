"""Training: the loop, evaluation and checkpoints of one trial, in one process per worker."""
