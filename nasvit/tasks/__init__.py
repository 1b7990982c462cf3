"""Tasks: losses, distillation, and the score of a network."""
