"""The pipeline: a whole sweep from its file to its report, as the commands run it."""
