"""The language models that probes train."""
