"""Probes are small training runs that continue one base checkpoint over ratios, budgets and sizes."""
