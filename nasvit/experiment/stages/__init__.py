"""The stages of an experiment; each reads what the one before wrote."""
