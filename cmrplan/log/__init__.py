"""The probe log: its cells, its checks, what to be careful about, its files."""

CORPORA = ("general", "domain")
"""The validation corpora that a plan needs."""
