"""Parity: numbers computed with released implementations, computed again with ours and compared."""
