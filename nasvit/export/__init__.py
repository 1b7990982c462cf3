"""Networks on disk: the saved format, and programs that run without this library."""
