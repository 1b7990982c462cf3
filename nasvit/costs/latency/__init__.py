"""Latency tables for the user's own device: measured once, then looked up for whole populations."""
