"""What users and machines do wrong, by the thousand: ``python -m experiments.benchmarks.chaos kills --rounds 400``."""
