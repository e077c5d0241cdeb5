"""One run: its schedule, its loop, its checkpoints and its metrics."""
