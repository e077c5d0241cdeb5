"""A report on a fit as one page that needs nothing else, and in other formats."""
