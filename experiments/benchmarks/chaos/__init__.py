"""Attacks: kills, damaged inputs, folders of images made wrong; `python -m experiments.benchmarks.chaos`."""
