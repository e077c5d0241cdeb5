"""From fitted laws to a decision: tolerance, feasibility, the recommended ratio."""
