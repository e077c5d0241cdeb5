"""A sweep spec is described here, and read from a YAML file."""
