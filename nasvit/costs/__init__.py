"""What networks cost: counted multiply-adds, parameters and memory, and measured latency."""
