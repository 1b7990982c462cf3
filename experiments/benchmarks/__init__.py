"""Benchmarks of the parts; each module is a command."""
