"""From a fit to one recommended domain ratio, and the questions around it."""
