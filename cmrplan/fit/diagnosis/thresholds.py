"""What tests of one fit share: how often they may be wrong, and what they need to say anything."""

from __future__ import annotations

ALPHA = 0.01  # chance of a warning on a log without a fault, for each loss
FEWEST_RUNS = 6
ROUNDING_OF_LOSS = 1e-6  # of the loss; smaller residuals are rounding, and the log is free of noise
