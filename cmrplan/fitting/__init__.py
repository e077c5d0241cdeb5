"""Fitting a law: variable projection, a robust loss, deterministic starts, a frozen result."""
