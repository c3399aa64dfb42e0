"""Evaluation of trained models: sets of prompts, replies on disk, what is measured on them."""
