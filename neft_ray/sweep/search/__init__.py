"""Searchers: where the values of an arm's next trial come from."""
