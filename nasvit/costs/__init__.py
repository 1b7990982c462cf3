"""Costs of networks: counted multiply-adds, parameters and memory, and measured latency."""
