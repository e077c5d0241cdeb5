"""Which probes to run next."""
