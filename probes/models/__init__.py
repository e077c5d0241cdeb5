"""The language models that probes train are built here."""
