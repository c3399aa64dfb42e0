"""Benchmarks against the libraries installed: python -m benchmarks.<name>."""
