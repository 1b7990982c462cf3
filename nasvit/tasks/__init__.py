"""What is learned: losses, distillation, and the score a network is judged by."""
