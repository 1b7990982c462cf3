"""Experiments: configurations a user runs, benchmarks, and the results measured with them."""
