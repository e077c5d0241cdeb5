"""How laws and baselines predict what they have not seen."""
