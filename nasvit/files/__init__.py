"""What is written to be read again: whole, sealed, and checked; and who writes to a folder."""
