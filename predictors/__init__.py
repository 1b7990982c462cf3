"""What a candidate will cost or score without training it. Importing this package does not import torch."""
