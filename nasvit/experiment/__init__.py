"""One experiment or one training from its YAML file to its results."""
