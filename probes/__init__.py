"""Small training runs that continue one base checkpoint over mixture ratios, budgets and sizes."""
