"""What users and machines do wrong, by the thousand: ``python -m experiments.benchmarks.chaos --help``."""
