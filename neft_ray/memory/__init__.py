"""Memory: what a worker holds at the peak of a step, predicted without weights."""
