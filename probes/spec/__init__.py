"""What a sweep spec can say, and reading one from a YAML file."""
