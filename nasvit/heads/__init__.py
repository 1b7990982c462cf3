"""Heads of dense tasks: what turns a backbone's maps into boxes or masks, and what it learns from."""
