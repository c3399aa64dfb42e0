"""Strategies: how one trial is spread over its workers."""
