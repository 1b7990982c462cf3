"""Networks with shared weights and the head of a detector or segmenter."""
