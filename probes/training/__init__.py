"""A run is trained here: by its schedule, in a loop, with checkpoints and metrics."""
