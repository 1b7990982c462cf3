"""Heads of dense tasks: what turns a backbone's maps into boxes or masks, and what it learns from.

Their layers are torchvision's, which takes seconds to import and so is imported where a head is made or learns.
"""
