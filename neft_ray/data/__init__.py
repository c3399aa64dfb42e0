"""Rows to tokens: formats, templates, splits, tokenization, and the batches of every step."""
